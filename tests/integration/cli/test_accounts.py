"""`seen user` and `seen key`: what each prints for people and as JSON, and what it refuses."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import pytest

from cli import main as main_module
from cli.commands.accounts import key as key_module
from cli.commands.accounts import user as user_module
from domain.access import Scope
from domain.errors import AuthenticationError
from tasks.api.accounts import AccountParts, list_keys, list_users, sign_in
from tests.support.accounts import ADDRESS, LOCAL, by_key

Seen = Callable[..., Any]


@pytest.fixture
def seen(
    accounts: AccountParts, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Seen:
    """Runs a command, and returns what it prints; with --json the value; of a failure the error."""
    for module in (user_module, key_module):
        monkeypatch.setattr(module, "open_accounts", lambda: accounts)
        monkeypatch.setattr(module, "has_no_database", lambda _settings: False)

    def run(*arguments: str, status: int = 0) -> Any:
        monkeypatch.setattr(sys, "argv", ["seen", *arguments])
        assert main_module.run(arguments) == status
        out, err = capsys.readouterr()
        if "--json" in arguments:
            return json.loads(out)
        return out if status == 0 else err

    return run


def test_users_from_their_addition_to_their_end(seen: Seen, accounts: AccountParts) -> None:
    assert seen("user", "list") == "There are no users. `seen user add` adds one.\n"
    assert seen("user", "list", "--json") == []
    assert seen("user", "add", "ada") == "User ada was added with the role user.\n"
    bob = seen("user", "add", "bob", "--role", "viewer", "--json")
    assert (bob["name"], bob["role"], bob["disabled_at"]) == ("bob", "viewer", None)
    assert seen("user", "role", "bob", "admin") == "User bob has the role admin.\n"
    assert "Its keys and sessions have ended" in seen("user", "disable", "bob")
    lines = [line.split()[:3] for line in seen("user", "list").splitlines()]
    assert lines == [
        ["name", "role", "state"],
        ["ada", "user", "enabled"],
        ["bob", "admin", "disabled"],
    ]
    assert "is enabled" in seen("user", "enable", "bob")
    assert [one["disabled_at"] for one in seen("user", "list", "--json")] == [None, None]


def test_a_key_is_printed_once_alone_on_standard_output(seen: Seen, accounts: AccountParts) -> None:
    assert seen("key", "list") == "There are no keys. `seen key add` makes one.\n"
    seen("user", "add", "ada")
    secret = seen("key", "add", "ada", "--name", "NAS, ü").removesuffix("\n")
    assert by_key(secret, accounts).user_id == "ada"
    other = seen(
        "key", "add", "ada", "--scope", "read", "--scope", "files", "--days", "1", "--json"
    )
    assert by_key(other["key"], accounts).scopes == {Scope.READ, Scope.FILES}
    assert other["expires_at"] > other["created_at"]
    listed = seen("key", "list")
    assert "valid" in listed
    assert "NAS, ü" in listed
    as_json = seen("key", "list", "ada", "--json")
    assert [one["prefix"] for one in as_json] == [secret[5:13], other["prefix"]]
    for hidden in (secret[14:], other["key"][14:]):
        assert hidden not in listed + json.dumps(as_json)
    assert seen("key", "revoke", secret[5:13]) == f"Key {secret[5:13]} is revoked.\n"
    assert seen("key", "revoke", secret[5:13], "--json")["revoked"] is False
    with pytest.raises(AuthenticationError):
        by_key(secret, accounts)


def test_a_link_signs_its_user_in(seen: Seen, accounts: AccountParts) -> None:
    seen("user", "add", "ada")
    for token in (
        seen("user", "link", "ada").removesuffix("\n"),
        seen("user", "link", "ada", "--json")["token"],
    ):
        assert sign_in(token, address=ADDRESS, runtime=accounts).principal.user_id == "ada"


#: By arguments: the code of the error and a part of the message. A user `ada` exists.
REFUSED = [
    (["user", "add", "ada"], "user_exists", "already"),
    (["user", "add", "Ada"], "invalid_input", "lower-case letters"),
    (["user", "add", "ada/../bob"], "invalid_input", "lower-case letters"),
    (["user", "add", "carl", "--role", "root"], "usage", "root"),
    (["user", "add"], "usage", "NAME"),
    (["user", "role", "ada", "root"], "usage", "root"),
    (["user", "role", "carl", "admin"], "unknown_user", "`seen user list`"),
    (["user", "disable", "carl"], "unknown_user", "`seen user list`"),
    (["user", "enable", "carl"], "unknown_user", "`seen user list`"),
    (["user", "link", "carl"], "unknown_user", "`seen user list`"),
    (["key", "add", "carl"], "unknown_user", "`seen user list`"),
    (["key", "add", "ada", "--scope", "admin"], "invalid_input", "role 'user'"),
    (["key", "add", "ada", "--scope", "root"], "usage", "root"),
    (["key", "add", "ada", "--days", "0"], "usage", "--days"),
    (["key", "add", "ada", "--name", "a\nb"], "invalid_input", "visible characters"),
    (["key", "list", "carl"], "unknown_user", "`seen user list`"),
    (["key", "revoke", "zzzzzzzz"], "unknown_key", "`seen key list`"),
    (["key", "revoke", "seen_zzzzzzzz_" + "A" * 43], "invalid_input", "'***'"),
]


def test_what_is_refused_changes_nothing(seen: Seen, accounts: AccountParts) -> None:
    seen("user", "add", "ada")
    before = list_users(LOCAL, runtime=accounts)
    for arguments, code, part in REFUSED:
        assert part in seen(*arguments, status=2), arguments
        error = seen(*arguments, "--json", status=2)["error"]
        assert (error["code"], part in error["message"]) == (code, True), arguments
    assert list_users(LOCAL, runtime=accounts) == before
    assert list_keys(LOCAL, runtime=accounts) == []


def test_no_key_or_link_is_made_for_a_disabled_user(seen: Seen) -> None:
    seen("user", "add", "ada")
    seen("user", "disable", "ada")
    for arguments in (["key", "add", "ada"], ["user", "link", "ada"]):
        assert seen(*arguments, "--json", status=2)["error"]["code"] == "user_disabled"


def test_no_secret_is_an_argument() -> None:
    """Arguments are shown by `ps` to other users of the machine."""
    names = {
        parameter
        for module in (user_module, key_module)
        for command in module.app.registered_commands
        for parameter in command.callback.__annotations__
    }
    assert names == {
        *("name", "role", "new_role", "user", "scope", "days", "prefix", "as_json", "return")
    }
