"""Tokens are stored nowhere, and neither they nor the ids of sessions and users are shown anywhere."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import ValidationError

from cache import CacheManager, SessionData, UserData
from domain.errors import InvalidInputError, StoreUnavailableError
from tests.support.build import Connect
from tests.support.stores.server import StoreServer

TOKEN = "hunter2-hunter2-hunter2"
SESSION_ID = "sid-Sb0vZ1fP"
USER_ID = "uid-7f3Q"
EMAIL = "ada@example.com"
USER = UserData(id=USER_ID, email=EMAIL, display_name="Ada")


def login(token: str | None = TOKEN) -> SessionData:
    return SessionData.issue(
        session_id=SESSION_ID,
        user_id=USER_ID,
        expires_at=datetime.now(UTC) + timedelta(hours=1),
        refresh_token=token,
    )


def secrets_in(text: str) -> list[str]:
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    return [secret for secret in (TOKEN, digest, SESSION_ID, USER_ID, EMAIL) if secret in text]


# ── refresh tokens ──────────────────────────────────────────────────────────────────────────────


def test_the_text_of_a_token_is_nowhere_in_the_store(manager: CacheManager) -> None:
    manager.session.set_session(login())
    manager.session.touch(SESSION_ID)
    manager.session.set_user(USER)
    dumps = {key: manager.client.dump(key) for key in manager.client.scan_iter()}
    assert len(dumps) == 3
    assert [key for key, dump in dumps.items() if TOKEN.encode() in key + (dump or b"")] == []
    value = manager.client.get(f"seen:session:{SESSION_ID}")
    assert value is not None
    assert TOKEN.encode() not in value
    assert hashlib.sha256(TOKEN.encode()).hexdigest().encode() in value


def test_a_stored_session_accepts_its_token_and_no_other(manager: CacheManager) -> None:
    manager.session.set_session(login())
    found = manager.session.get_session(SESSION_ID)
    assert found is not None
    assert found.accepts(TOKEN)
    digest = found.refresh_token_sha256 or ""
    for wrong in ("", TOKEN[:-1], TOKEN + " ", TOKEN.upper(), digest, "\ud800"):
        assert not found.accepts(wrong)


def test_a_session_without_a_token_accepts_none() -> None:
    session = login(None)
    assert session.refresh_token_sha256 is None
    assert not session.accepts("")
    assert not session.accepts(TOKEN)


@pytest.mark.parametrize("token", ["", "short", "x" * 15])
def test_a_token_that_could_be_guessed_is_refused(token: str) -> None:
    with pytest.raises(InvalidInputError, match="refresh_token") as caught:
        login(token)
    assert not token or token not in str(caught.value)


def test_sixteen_characters_are_enough() -> None:
    assert login("x" * 16).accepts("x" * 16)


# ── what is shown ───────────────────────────────────────────────────────────────────────────────


def test_no_repr_shows_a_secret() -> None:
    for value in (login(), USER):
        assert secrets_in(f"{value!r} {value} {[value]!r}") == []


def test_no_error_of_a_wrong_field_shows_the_others() -> None:
    """Such an error ends up in a log sooner or later."""
    with pytest.raises(ValidationError) as caught:
        SessionData.model_validate({"session_id": SESSION_ID, "user_id": USER_ID})
    assert secrets_in(str(caught.value)) == []
    with pytest.raises(ValidationError) as caught:
        SessionData.model_validate(login().model_dump() | {"refresh_token_sha256": TOKEN})
    assert secrets_in(str(caught.value)) == []
    with pytest.raises(ValidationError) as caught:
        UserData.model_validate({"id": USER_ID, "mail": EMAIL})
    assert secrets_in(str(caught.value)) == []


def test_no_log_shows_a_secret_when_values_are_damaged(
    manager: CacheManager, caplog: pytest.LogCaptureFixture
) -> None:
    session_key, user_key = f"seen:session:{SESSION_ID}", f"seen:user:{USER_ID}"
    with caplog.at_level(logging.DEBUG):
        for damage in (b"{", login().model_dump_json().replace("Z", "?").encode(), b"\x01V", b"5"):
            uses: list[Callable[[], object]] = [
                lambda: manager.session.get_session(SESSION_ID),
                lambda: manager.session.touch(SESSION_ID),
                lambda: manager.session.list_sessions(USER_ID),
                lambda: manager.session.delete_session(SESSION_ID),
                lambda: manager.session.get_user(USER_ID),
            ]
            for use in uses:
                manager.session.set_session(login())
                manager.client.set(session_key, damage)
                manager.client.set(user_key, damage)
                use()
    assert len(caplog.records) >= 20  # so there was something to log
    assert secrets_in(caplog.text) == []


def test_no_log_shows_a_secret_when_the_store_fails(
    private_store: StoreServer, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG), connect(private_store) as manager:
        session = manager.session
        uses: list[Callable[[], object]] = [
            lambda: session.set_session(login()),
            lambda: session.get_session(SESSION_ID),
            lambda: session.touch(SESSION_ID),
            lambda: session.list_sessions(USER_ID),
            lambda: session.invalidate_user_sessions(USER_ID),
            lambda: session.delete_session(SESSION_ID),
            lambda: session.set_user(USER),
            lambda: session.get_user(USER_ID),
            lambda: session.rate_limit_check(USER_ID, "login", 5),
            lambda: manager.invalidate_user(USER_ID),
        ]
        assert [problem for use in uses if (problem := problem_of(use))] == []
        private_store.kill()
        problems = [problem for use in uses if (problem := problem_of(use))]
    assert problems
    assert secrets_in(caplog.text + " ".join(problems)) == []


def problem_of(use: Callable[[], object]) -> str:
    try:
        use()
    except StoreUnavailableError as error:
        return str(error)
    return ""


def test_a_damaged_value_can_be_followed_in_the_log_without_its_id(
    manager: CacheManager, caplog: pytest.LogCaptureFixture
) -> None:
    """The same digits each time, so that lines about one session can be found together."""
    for _ in range(2):
        manager.client.set(f"seen:session:{SESSION_ID}", b"{")
        manager.session.get_session(SESSION_ID)
    shown = manager.keys.redacted(f"seen:session:{SESSION_ID}")
    assert [shown in record.getMessage() for record in caplog.records] == [True, True]
