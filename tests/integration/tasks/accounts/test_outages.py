"""Without store keys work and sessions say that they do not; without SQL no one signs in."""

from __future__ import annotations

import pytest

from domain.errors import DatabaseUnavailableError, StoreUnavailableError
from tasks.api.accounts import (
    AccountParts,
    add_user,
    create_key,
    create_link,
    list_users,
    refresh,
    sign_in,
    sign_in_with_key,
    sign_out,
    sign_out_everywhere,
)
from tests.support.accounts import (
    ADDRESS,
    LOCAL,
    by_key,
    by_session,
    signed_in,
    user_with_key,
    without_database,
    without_store,
)


def test_without_store_keys_work_and_sessions_raise(accounts: AccountParts) -> None:
    key = user_with_key(accounts)
    session = signed_in(accounts)
    link = create_link(LOCAL, "ada", runtime=accounts)
    with without_store(accounts) as alone:
        assert by_key(key.secret, alone).user_id == "ada"
        for attempt in (
            lambda: by_session(session.token, alone),
            lambda: refresh(session.token, address=ADDRESS, runtime=alone),
            lambda: sign_out(session.token, runtime=alone),
            lambda: sign_in(link.token, address=ADDRESS, runtime=alone),
            lambda: sign_in_with_key(key.secret, address=ADDRESS, runtime=alone),
        ):
            with pytest.raises(StoreUnavailableError):
                attempt()
    assert by_session(session.token, accounts).user_id == "ada", "it is still there"
    new = sign_in(link.token, address=ADDRESS, runtime=accounts)
    assert new.principal.user_id == "ada", "the link was not used up"


def test_without_database_nothing_is_accepted(accounts: AccountParts) -> None:
    key = user_with_key(accounts)
    session = signed_in(accounts)
    link = create_link(LOCAL, "ada", runtime=accounts)
    alone = without_database(accounts)
    for attempt in (
        lambda: by_key(key.secret, alone),
        lambda: by_session(session.token, alone),
        lambda: refresh(session.token, address=ADDRESS, runtime=alone),
        lambda: sign_in(link.token, address=ADDRESS, runtime=alone),
        lambda: sign_in_with_key(key.secret, address=ADDRESS, runtime=alone),
        lambda: sign_out_everywhere(LOCAL, "ada", runtime=alone),
        lambda: create_link(LOCAL, "ada", runtime=alone),
        lambda: create_key(LOCAL, "ada", runtime=alone),
        lambda: add_user(LOCAL, "bob", "user", runtime=alone),
        lambda: list_users(LOCAL, runtime=alone),
    ):
        with pytest.raises(DatabaseUnavailableError):
            attempt()
    assert sign_out(session.token, runtime=alone) is True, "the store alone is needed"
    alone.database.close()
