"""No secret is in a log, a repr, an error, the database or the store: a copy of them opens nothing."""

from __future__ import annotations

import logging

import pytest
from sqlalchemy import text

from database.models import metadata
from domain.errors import SeenError
from tasks.api.accounts import (
    AccountParts,
    create_key,
    create_link,
    disable_user,
    limit_requests,
    list_keys,
    refresh,
    revoke_key,
    sign_in,
    sign_in_with_key,
    sign_out_everywhere,
)
from tasks.api.accounts.as_json import key_as_json
from tests.support.accounts import ADDRESS, LOCAL, by_key, by_session, user_with_key


def everything_in_sql(parts: AccountParts) -> str:
    with parts.database.read() as connection:
        rows = [
            tuple(row)
            for table in metadata.sorted_tables
            for row in connection.execute(text(f"SELECT * FROM {table.name}"))
        ]
    return repr(rows)


def everything_in_the_store(parts: AccountParts) -> str:
    client, found = parts.cache.client, []
    for key in client.scan_iter(count=1000):
        kind = client.type(key)
        found.append(key)
        if kind == b"string":
            found.append(client.get(key))
        elif kind == b"zset":
            found.extend(client.zrange(key, 0, -1))
        else:
            assert kind == b"list", kind
    return repr(found)


def test_secrets_appear_nowhere(accounts: AccountParts, caplog: pytest.LogCaptureFixture) -> None:
    shown: list[object] = []
    with caplog.at_level(logging.DEBUG):
        key = user_with_key(accounts)
        key_session = sign_in_with_key(key.secret, address=ADDRESS, runtime=accounts)
        link = create_link(LOCAL, "ada", runtime=accounts)
        session = sign_in(link.token, address=ADDRESS, runtime=accounts)
        fresh = refresh(session.token, address=ADDRESS, runtime=accounts)
        secrets = [key.secret, link.token, key_session.token, session.token, fresh.token]
        limit_requests(by_key(key.secret, accounts), runtime=accounts)
        stored = everything_in_sql(accounts) + everything_in_the_store(accounts)
        shown += [key, link, session, fresh, key_session, by_session(fresh.token, accounts)]
        shown += list_keys(LOCAL, runtime=accounts)
        shown += [key_as_json(one) for one in list_keys(LOCAL, runtime=accounts)]
        sign_out_everywhere(LOCAL, "ada", runtime=accounts)
        revoke_key(LOCAL, key.key.prefix, runtime=accounts)
        disable_user(LOCAL, "ada", runtime=accounts)
        for secret in secrets:
            for attempt in (
                lambda: by_key(secret, accounts),  # noqa: B023
                lambda: by_session(secret, accounts),  # noqa: B023
                lambda: sign_in(secret, address=ADDRESS, runtime=accounts),  # noqa: B023
                lambda: create_key(LOCAL, secret, runtime=accounts),  # noqa: B023
                lambda: create_key(LOCAL, "ada", runtime=accounts, name=secret),  # noqa: B023
                lambda: create_key(LOCAL, "ada", runtime=accounts, scopes=[secret]),  # noqa: B023
                lambda: revoke_key(LOCAL, secret, runtime=accounts),  # noqa: B023
                lambda: disable_user(LOCAL, secret, runtime=accounts),  # noqa: B023
            ):
                with pytest.raises(SeenError) as caught:
                    attempt()
                shown += [caught.value, str(caught.value)]
    everything = repr(shown) + caplog.text
    for secret in secrets:
        random_part = secret.rpartition("_")[2]
        assert random_part not in everything
        assert random_part not in stored
    assert key.key.hash in stored, "the search looks at the right places"
    assert key.key.hash not in everything
