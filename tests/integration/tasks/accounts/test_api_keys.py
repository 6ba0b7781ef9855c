"""API keys: made, used, refused, revoked."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta

import pytest

from database.accounts import ApiKeyRepository, User, UserRepository
from domain.access import ALL_SCOPES, SCOPES_OF_ROLE, Kind, Principal, Role, Scope
from domain.access.errors import UnknownKeyError, UnknownUserError, UserDisabledError
from domain.errors import AuthenticationError, ForbiddenError, InvalidInputError
from tasks.api.accounts import (
    AccountParts,
    NewKey,
    add_user,
    authenticate,
    create_key,
    disable_user,
    enable_user,
    list_keys,
    revoke_key,
    set_role,
    sign_in_with_key,
    tokens,
)
from tests.support.accounts import (
    LOCAL,
    Clock,
    by_key,
    signed_in,
    user_with_key,
    with_settings,
)


def test_a_key_stands_for_its_user(accounts: AccountParts) -> None:
    new = user_with_key(accounts)
    expected = Principal(
        user_id="ada",
        role=Role.USER,
        scopes=SCOPES_OF_ROLE[Role.USER],
        kind=Kind.KEY,
        id=new.key.prefix,
    )
    assert by_key(new.secret, accounts) == expected
    assert authenticate(new.secret, address=None, runtime=accounts) == expected
    assert new.secret.startswith(f"seen_{new.key.prefix}_")
    assert len(new.secret) == len("seen_") + 8 + 1 + 43


def opens(new: NewKey, parts: AccountParts) -> bool:
    return by_key(new.secret, parts).user_id == new.key.user_id


def _other_secret(secret: str) -> str:
    return secret[:-1] + ("a" if secret[-1] != "a" else "b")


def _unknown(new: NewKey) -> str:
    return new.secret.replace(new.key.prefix, "zzzzzzzz")


def _revoke(new: NewKey, parts: AccountParts, clock: Clock) -> None:
    assert revoke_key(LOCAL, new.key.prefix, runtime=parts)


def _disable(new: NewKey, parts: AccountParts, clock: Clock) -> None:
    disable_user(LOCAL, "ada", runtime=parts)


def _disable_and_enable(new: NewKey, parts: AccountParts, clock: Clock) -> None:
    disable_user(LOCAL, "ada", runtime=parts)
    enable_user(LOCAL, "ada", runtime=parts)


def _expire(new: NewKey, parts: AccountParts, clock: Clock) -> None:
    clock.move(days=8)


def _give_no_role(new: NewKey, parts: AccountParts, clock: Clock) -> None:
    UserRepository(parts.database).set_role("ada", "premium", now=clock())


def _nothing(new: NewKey, parts: AccountParts, clock: Clock) -> None:
    pass


#: By what is wrong: what happens before, what is sent, and what the log says.
REFUSED: dict[
    str,
    tuple[Callable[[NewKey, AccountParts, Clock], None], Callable[[NewKey], object], str],
] = {
    "revoked": (_revoke, lambda new: new.secret, "key PREFIX: it is revoked"),
    "expired": (_expire, lambda new: new.secret, "key PREFIX: it is expired"),
    "disabled user": (_disable, lambda new: new.secret, "key PREFIX: it is revoked"),
    "user enabled again": (
        _disable_and_enable,
        lambda new: new.secret,
        "key PREFIX: it is revoked",
    ),
    "user without a role": (
        _give_no_role,
        lambda new: new.secret,
        "key PREFIX: its user is disabled, or has no role",
    ),
    "wrong secret": (
        _nothing,
        lambda new: _other_secret(new.secret),
        "key PREFIX: its secret is wrong",
    ),
    "wrong secret, revoked": (
        _revoke,
        lambda new: _other_secret(new.secret),
        "key PREFIX: its secret is wrong",
    ),
    "unknown": (_nothing, _unknown, "key zzzzzzzz: it is unknown"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_every_wrong_key_gets_the_same_answer_and_the_log_says_why(
    accounts: AccountParts, clock: Clock, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    add_user(LOCAL, "ada", "user", runtime=accounts)
    new = create_key(LOCAL, "ada", runtime=accounts, expires_at=clock() + timedelta(days=7))
    assert by_key(new.secret, accounts).user_id == "ada"
    before, send, logged = REFUSED[what]
    before(new, accounts, clock)
    sent = send(new)
    caplog.clear()
    with caplog.at_level(logging.DEBUG), pytest.raises(AuthenticationError) as caught:
        by_key(sent, accounts)
    _check_refusal(caught.value, caplog, logged.replace("PREFIX", new.key.prefix), new)


def _check_refusal(
    error: AuthenticationError, caplog: pytest.LogCaptureFixture, logged: str, new: NewKey
) -> None:
    assert str(error).startswith("This needs a valid API key or session.")
    assert (error.code, error.__cause__) == ("authentication", None)
    (record,) = [one for one in caplog.records if one.name.startswith("tasks")]
    assert record.levelno == logging.WARNING
    assert logged in record.getMessage()
    assert "192.0.2.7" in record.getMessage()
    assert new.secret[14:] not in caplog.text + str(error)
    assert new.key.hash not in caplog.text


def test_what_has_not_the_form_of_a_key_gets_the_same_answer(
    accounts: AccountParts, caplog: pytest.LogCaptureFixture
) -> None:
    new = user_with_key(accounts)
    for sent in (
        None,
        "",
        7,
        new.secret.encode(),
        [new.secret],
        new.secret + "\n",
        " " + new.secret,
        new.secret + "a",
        new.secret[:-1] + "\udcff",
        new.secret[:-1] + "-",
        new.secret.upper(),
        new.key.prefix,
        new.key.hash,
        "' OR 1=1 --",
        "x" * 1_000_000,
        tokens.new_link().secret,
        tokens.new_session().secret,
    ):
        caplog.clear()
        with caplog.at_level(logging.DEBUG), pytest.raises(AuthenticationError) as caught:
            by_key(sent, accounts)
        _check_refusal(caught.value, caplog, "has not the form of a key", new)


def test_the_last_use_is_written_at_most_once_a_minute(
    accounts: AccountParts, clock: Clock
) -> None:
    new = user_with_key(accounts)
    keys = ApiKeyRepository(accounts.database)

    def last_used() -> object:
        (key,) = keys.all()
        return key.last_used_at

    assert last_used() is None
    by_key(new.secret, accounts)
    first = last_used()
    assert first is not None
    clock.move(seconds=30)
    by_key(new.secret, accounts)
    assert last_used() == first
    clock.move(seconds=31)
    by_key(new.secret, accounts)
    second = last_used()
    assert second != first
    # Another process that read the key earlier writes nothing.
    now = clock()
    keys.note_use(new.key.prefix, now=now, unless_after=now - timedelta(minutes=1))
    assert last_used() == second


def test_a_key_never_has_more_than_its_users_present_role(accounts: AccountParts) -> None:
    new = user_with_key(accounts, role="admin")
    assert by_key(new.secret, accounts).scopes == ALL_SCOPES - {Scope.ADMIN}
    for role in ("viewer", "user", "admin"):
        set_role(LOCAL, "ada", role, runtime=accounts)
        found = by_key(new.secret, accounts)
        assert found.role == Role(role)
        assert found.scopes == SCOPES_OF_ROLE[Role(role)] - {Scope.ADMIN}


#: Role of the user, scopes asked for, and those of the key; None: it is refused.
SCOPES: list[tuple[str, list[str], set[str] | None]] = [
    ("admin", [], {"read", "files", "submit", "control"}),
    ("admin", ["admin"], {"admin"}),
    ("admin", ["read", "admin", "read"], {"read", "admin"}),
    ("user", [], {"read", "files", "submit", "control"}),
    ("user", ["submit"], {"submit"}),
    ("user", ["admin"], None),
    ("viewer", [], {"read", "files"}),
    ("viewer", ["files"], {"files"}),
    ("viewer", ["submit"], None),
    ("viewer", ["read", "control"], None),
    ("user", ["root"], None),
    ("user", [""], None),
]


def test_scopes_of_a_new_key(accounts: AccountParts) -> None:
    for number, (role, asked, granted) in enumerate(SCOPES):
        name = f"user{number}"
        add_user(LOCAL, name, role, runtime=accounts)
        if granted is None:
            with pytest.raises(InvalidInputError, match=r"^scope: "):
                create_key(LOCAL, name, runtime=accounts, scopes=asked)
            assert list_keys(LOCAL, name, runtime=accounts) == []
        else:
            new = create_key(LOCAL, name, runtime=accounts, scopes=asked)
            assert by_key(new.secret, accounts).scopes == granted, (role, asked)


def test_keys_are_listed_without_what_opens_anything(accounts: AccountParts) -> None:
    ada = user_with_key(accounts)
    bob = user_with_key(accounts, "bob", "viewer")
    assert [key.prefix for key in list_keys(LOCAL, runtime=accounts)] == [
        ada.key.prefix,
        bob.key.prefix,
    ]
    assert [key.user_id for key in list_keys(LOCAL, "bob", runtime=accounts)] == ["bob"]
    with pytest.raises(UnknownUserError):
        list_keys(LOCAL, "carl", runtime=accounts)


def test_what_is_no_prefix_is_refused_and_a_secret_not_repeated(accounts: AccountParts) -> None:
    new = user_with_key(accounts)
    for sent in ("", "ABCDEFGH", "abc", "abcdefgh1", "abcdefg\n", new.secret):
        with pytest.raises(InvalidInputError) as caught:
            revoke_key(LOCAL, sent, runtime=accounts)
        assert new.secret[14:] not in str(caught.value)
    assert opens(new, accounts)


def test_users_manage_their_own_keys_in_a_session_and_no_others(accounts: AccountParts) -> None:
    ada_key, bob_key = user_with_key(accounts), user_with_key(accounts, "bob")
    ada = signed_in(accounts).principal
    by_key_session = sign_in_with_key(ada_key.secret, address=None, runtime=accounts).principal
    own = create_key(ada, "ada", runtime=accounts, scopes=["read"])
    assert {key.prefix for key in list_keys(ada, "ada", runtime=accounts)} == {
        ada_key.key.prefix,
        own.key.prefix,
    }
    for attempt in (
        lambda: create_key(ada, "bob", runtime=accounts),
        lambda: create_key(ada, "no-such-user", runtime=accounts),
        lambda: list_keys(ada, "bob", runtime=accounts),
        lambda: list_keys(ada, runtime=accounts),
        # A key makes no further keys.
        lambda: create_key(by_key(ada_key.secret, accounts), "ada", runtime=accounts),
        lambda: create_key(by_key_session, "ada", runtime=accounts),
    ):
        with pytest.raises(ForbiddenError):
            attempt()
    answers = set()
    for prefix in (bob_key.key.prefix, "zzzzzzzz"):
        with pytest.raises(UnknownKeyError) as caught:
            revoke_key(ada, prefix, runtime=accounts)
        answers.add(str(caught.value).replace(prefix, "…"))
    assert len(answers) == 1, "foreign and unknown keys cannot be told apart"
    assert opens(bob_key, accounts)
    assert revoke_key(ada, own.key.prefix, runtime=accounts) is True
    assert revoke_key(ada, own.key.prefix, runtime=accounts) is False


def test_no_key_is_made_for_a_user_that_may_not_sign_in(accounts: AccountParts) -> None:
    user_with_key(accounts)
    disable_user(LOCAL, "ada", runtime=accounts)
    with pytest.raises(UserDisabledError):
        create_key(LOCAL, "ada", runtime=accounts)
    with pytest.raises(UnknownUserError):
        create_key(LOCAL, "bob", runtime=accounts)
    UserRepository(accounts.database).save(User(id="c", email="", display_name="", role="premium"))
    with pytest.raises(InvalidInputError, match="role"):
        create_key(LOCAL, "c", runtime=accounts)
    (only,) = list_keys(LOCAL, runtime=accounts)
    assert only.user_id == "ada"


def test_a_key_is_not_made_expired(accounts: AccountParts, clock: Clock) -> None:
    add_user(LOCAL, "ada", "user", runtime=accounts)
    with pytest.raises(InvalidInputError, match="future"):
        create_key(LOCAL, "ada", runtime=accounts, expires_at=clock() - timedelta(seconds=1))
    assert list_keys(LOCAL, runtime=accounts) == []


def test_wrong_keys_do_not_use_up_the_limit_of_requests(accounts: AccountParts) -> None:
    parts = with_settings(accounts, user_requests=1)
    new = user_with_key(parts)
    for _ in range(3):
        with pytest.raises(AuthenticationError):
            by_key(_other_secret(new.secret), parts)
    assert opens(new, parts)
