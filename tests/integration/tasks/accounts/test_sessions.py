"""Sign-in links and sessions: started, refreshed, ended; each end holds at once."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from database.accounts import UserRepository
from domain.access import SCOPES_OF_ROLE, Kind, Role, Scope
from domain.access.errors import UnknownUserError, UserDisabledError
from domain.errors import AuthenticationError, ForbiddenError
from tasks.api.accounts import (
    AccountParts,
    NewSession,
    add_user,
    authenticate,
    create_key,
    create_link,
    disable_user,
    enable_user,
    refresh,
    revoke_key,
    set_role,
    sign_in,
    sign_in_with_key,
    sign_out,
    sign_out_everywhere,
    tokens,
)
from tests.support.accounts import (
    ADDRESS,
    LOCAL,
    Clock,
    by_key,
    by_session,
    signed_in,
    user_with_key,
    user_with_session,
    with_settings,
    without_store,
)
from tests.support.wait import wait_until


def stored_sessions(parts: AccountParts, name: str = "ada") -> int:
    return len(parts.cache.session.list_sessions(name))


def is_signed_in(token: str, parts: AccountParts) -> bool:
    try:
        return by_session(token, parts).user_id == "ada"
    except AuthenticationError:
        return False


def test_a_link_starts_a_session_with_the_users_role(accounts: AccountParts) -> None:
    new = user_with_session(accounts, role="viewer")
    principal = by_session(new.token, accounts)
    assert principal == new.principal
    assert authenticate(new.token, address=None, runtime=accounts) == principal
    assert (principal.user_id, principal.role, principal.kind) == (
        "ada",
        Role.VIEWER,
        Kind.SESSION,
    )
    assert principal.scopes == SCOPES_OF_ROLE[Role.VIEWER]
    set_role(LOCAL, "ada", "admin", runtime=accounts)
    assert by_session(new.token, accounts).scopes == SCOPES_OF_ROLE[Role.ADMIN]


def _use(token: str, parts: AccountParts, clock: Clock) -> None:
    sign_in(token, address=ADDRESS, runtime=parts)


def _wait(token: str, parts: AccountParts, clock: Clock) -> None:
    clock.move(minutes=10, seconds=1)


def _disable(token: str, parts: AccountParts, clock: Clock) -> None:
    disable_user(LOCAL, "ada", runtime=parts)


def _disable_and_enable(token: str, parts: AccountParts, clock: Clock) -> None:
    disable_user(LOCAL, "ada", runtime=parts)
    enable_user(LOCAL, "ada", runtime=parts)


@pytest.mark.parametrize("end", [_use, _wait, _disable, _disable_and_enable])
def test_a_link_is_used_once_in_its_time_by_a_user_who_may_sign_in(
    accounts: AccountParts, clock: Clock, end: Callable[[str, AccountParts, Clock], None]
) -> None:
    add_user(LOCAL, "ada", "user", runtime=accounts)
    link = create_link(LOCAL, "ada", runtime=accounts)
    before = stored_sessions(accounts)
    end(link.token, accounts, clock)
    with pytest.raises(AuthenticationError):
        sign_in(link.token, address=ADDRESS, runtime=accounts)
    assert stored_sessions(accounts) == before + (end is _use)


def test_what_is_no_session_and_no_link_gets_the_same_answer(accounts: AccountParts) -> None:
    parts, answers = with_settings(accounts, address_failures=1000), set()
    well_formed = (tokens.new_session(), tokens.new_link(), tokens.new_key()[0])
    for sent in (
        *(None, "", 7, b"seen_link_", "seen_link_", "x" * 1_000_000, "\udcff"),
        *(one.secret for one in well_formed),
    ):
        for attempt in (by_session, _refresh, _sign_in, _authenticate):
            with pytest.raises(AuthenticationError) as caught:
                attempt(sent, parts)
            answers.add(str(caught.value))
        assert sign_out(sent, runtime=parts) is False
    assert len(answers) == 1


def _refresh(sent: object, parts: AccountParts) -> object:
    return refresh(sent, address=ADDRESS, runtime=parts)


def _sign_in(sent: object, parts: AccountParts) -> object:
    return sign_in(sent, address=ADDRESS, runtime=parts)


def _authenticate(sent: object, parts: AccountParts) -> object:
    return authenticate(sent, address=ADDRESS, runtime=parts)


def _sign_out(new: NewSession, parts: AccountParts) -> None:
    assert sign_out(new.token, runtime=parts) is True


def _everywhere(new: NewSession, parts: AccountParts) -> None:
    sign_out_everywhere(new.principal, "ada", runtime=parts)


def _everywhere_by_another(new: NewSession, parts: AccountParts) -> None:
    sign_out_everywhere(LOCAL, "ada", runtime=parts)


def _everywhere_without_store(new: NewSession, parts: AccountParts) -> None:
    with without_store(parts) as elsewhere:
        sign_out_everywhere(LOCAL, "ada", runtime=elsewhere)
    assert stored_sessions(parts) == 2, "the store still has it"


def _disabled(new: NewSession, parts: AccountParts) -> None:
    disable_user(LOCAL, "ada", runtime=parts)


def _disabled_without_store(new: NewSession, parts: AccountParts) -> None:
    with without_store(parts) as elsewhere:
        disable_user(LOCAL, "ada", runtime=elsewhere)
        enable_user(LOCAL, "ada", runtime=elsewhere)
    assert stored_sessions(parts) == 2, "the store still has it"


def _no_role(new: NewSession, parts: AccountParts) -> None:
    UserRepository(parts.database).set_role("ada", "premium", now=parts.now())


def _store_is_emptied(new: NewSession, parts: AccountParts) -> None:
    parts.cache.client.flushdb()


def _over(new: NewSession, parts: AccountParts) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=0.2)
    assert parts.cache.session.touch(tokens.digest(new.token), expires_at=soon)
    wait_until(lambda: not is_signed_in(new.token, parts), what="the end of the session")


def _refreshed(new: NewSession, parts: AccountParts) -> None:
    refresh(new.token, address=ADDRESS, runtime=parts)


def _signed_in_again_in_its_place(new: NewSession, parts: AccountParts) -> None:
    link = create_link(LOCAL, "ada", runtime=parts)
    again = sign_in(link.token, address=ADDRESS, runtime=parts, former=new.token)
    assert is_signed_in(again.token, parts)


#: What ends a session, and whether it ends the user's other session, too.
ENDS: dict[Callable[[NewSession, AccountParts], None], bool] = {
    _sign_out: False,
    _everywhere: True,
    _everywhere_by_another: True,
    _everywhere_without_store: True,
    _disabled: True,
    _disabled_without_store: True,
    _no_role: True,
    _store_is_emptied: True,
    _over: False,
    _refreshed: False,
    _signed_in_again_in_its_place: False,
}


@pytest.mark.parametrize("end", ENDS)
def test_what_ends_a_session(
    accounts: AccountParts, end: Callable[[NewSession, AccountParts], None]
) -> None:
    new = user_with_session(accounts)
    other = signed_in(accounts)
    end(new, accounts)
    assert not is_signed_in(new.token, accounts)
    assert is_signed_in(other.token, accounts) is not ENDS[end]
    with pytest.raises(AuthenticationError):
        refresh(new.token, address=ADDRESS, runtime=accounts)


def test_a_user_who_has_signed_out_everywhere_signs_in_again_and_keeps_its_keys(
    accounts: AccountParts,
) -> None:
    key = user_with_key(accounts)
    sign_out_everywhere(signed_in(accounts).principal, "ada", runtime=accounts)
    assert is_signed_in(signed_in(accounts).token, accounts)
    assert by_key(key.secret, accounts).user_id == "ada"


def test_each_sign_in_and_refresh_makes_a_new_token(accounts: AccountParts) -> None:
    first = user_with_session(accounts)
    seen = {first.token}
    token = first.token
    for _ in range(3):
        token = refresh(token, address=ADDRESS, runtime=accounts).token
        assert token not in seen
        seen.add(token)
    assert stored_sessions(accounts) == 1
    assert is_signed_in(token, accounts)


def test_no_one_chooses_the_token_of_another(accounts: AccountParts) -> None:
    """Session fixation: a token that an attacker has set in a browser is not the session's."""
    add_user(LOCAL, "ada", "user", runtime=accounts)
    planted = tokens.new_session().secret
    link = create_link(LOCAL, "ada", runtime=accounts)
    new = sign_in(link.token, address=ADDRESS, runtime=accounts, former=planted)
    assert new.token != planted
    assert not is_signed_in(planted, accounts)


def test_a_session_can_be_refreshed_for_seven_days(accounts: AccountParts, clock: Clock) -> None:
    new = user_with_session(accounts)
    begun = clock()
    clock.move(days=6, hours=20)
    last = refresh(new.token, address=ADDRESS, runtime=accounts)
    assert last.expires_at - begun == pytest.approx(timedelta(days=7), abs=timedelta(minutes=1))
    clock.move(hours=4, seconds=1)
    with pytest.raises(AuthenticationError):
        refresh(last.token, address=ADDRESS, runtime=accounts)


def test_a_session_of_a_key_has_its_scopes_and_ends_with_it(accounts: AccountParts) -> None:
    add_user(LOCAL, "ada", "admin", runtime=accounts)
    key = create_key(LOCAL, "ada", runtime=accounts, scopes=["read"])
    new = sign_in_with_key(key.secret, address=ADDRESS, runtime=accounts)
    new = refresh(new.token, address=ADDRESS, runtime=accounts)
    assert by_session(new.token, accounts).scopes == {Scope.READ}
    with pytest.raises(ForbiddenError):
        create_key(new.principal, "ada", runtime=accounts, scopes=["admin"])
    assert revoke_key(LOCAL, key.key.prefix, runtime=accounts)
    assert not is_signed_in(new.token, accounts)
    with pytest.raises(AuthenticationError):
        sign_in_with_key(key.secret, address=ADDRESS, runtime=accounts)


def test_only_admins_make_links_and_sign_others_out(accounts: AccountParts) -> None:
    ada = user_with_session(accounts).principal
    bob = user_with_session(accounts, "bob")
    for attempt in (
        lambda: create_link(ada, "bob", runtime=accounts),
        lambda: create_link(ada, "ada", runtime=accounts),
        lambda: sign_out_everywhere(ada, "bob", runtime=accounts),
        lambda: sign_out_everywhere(ada, "no-such-user", runtime=accounts),
    ):
        with pytest.raises(ForbiddenError):
            attempt()
    assert by_session(bob.token, accounts).user_id == "bob"


def test_links_are_for_users_who_may_sign_in(accounts: AccountParts) -> None:
    add_user(LOCAL, "ada", "user", runtime=accounts)
    disable_user(LOCAL, "ada", runtime=accounts)
    with pytest.raises(UserDisabledError):
        create_link(LOCAL, "ada", runtime=accounts)
    with pytest.raises(UnknownUserError):
        create_link(LOCAL, "bob", runtime=accounts)
    with pytest.raises(UnknownUserError):
        sign_out_everywhere(LOCAL, "bob", runtime=accounts)


def test_a_clients_name_is_kept_harmless(
    accounts: AccountParts, caplog: pytest.LogCaptureFixture
) -> None:
    add_user(LOCAL, "ada", "user", runtime=accounts)
    link = create_link(LOCAL, "ada", runtime=accounts)
    with caplog.at_level(logging.DEBUG):
        sign_in(link.token, address=ADDRESS, runtime=accounts, client="\x1b[31m\udcff" + "x" * 999)
    (session,) = accounts.cache.session.list_sessions("ada")
    assert session.client.isprintable()
    assert len(session.client) < 300
    assert session.client not in caplog.text
