"""`seen key`: the API keys of users."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from cli.commands.accounts.printing import print_columns
from cli.context import has_no_database, open_accounts
from cli.help.pages import SeenTyper
from cli.output import formatting
from cli.output.messages import say
from domain.access.principal import Principal, Scope
from domain.errors import OutputError
from seen_local.late_settings import settings_module

if TYPE_CHECKING:
    from database.accounts import ApiKey
    from tasks.api.accounts import NewKey

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

app = SeenTyper(help="Make, list and revoke keys of the API.")


@app.command()
def add(
    user: Annotated[str, typer.Argument(metavar="USER", help="Whose key it is.")],
    name: Annotated[
        str, typer.Option(metavar="TEXT", help="What it is for, as `seen key list` shows it.")
    ] = "",
    scope: Annotated[
        list[Scope] | None,
        typer.Option(
            metavar="SCOPE",
            help="What it may do: read, files, submit, control or admin; may be repeated. By default "
            "all that the user's role may, but admin.",
        ),
    ] = None,
    days: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, max=3650, help="Days until it expires; without, it never does."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and print it, this once: only a hash of it is stored.

    Programs send it as "Authorization: Bearer KEY".
    """
    from tasks.api.accounts import create_key

    end = None if days is None else datetime.now(UTC) + timedelta(days=days)
    me, parts = Principal.local(), open_accounts()
    new = create_key(me, user, runtime=parts, name=name, scopes=scope or (), expires_at=end)
    try:
        _print_new(new, as_json=as_json)
    except OutputError as error:
        effect = f"The key is lost: `seen key revoke {new.key.prefix}` ends it."
        raise OutputError(error.error, effect) from None


@app.command("list")
def list_keys(
    user: Annotated[
        str | None, typer.Argument(metavar="USER", help="Only this user's; else of all.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List keys by the part of each that is no secret; revoked and expired ones, too."""
    found = _keys(user)
    if as_json:
        from tasks.api.accounts.as_json import key_as_json

        formatting.print_json([key_as_json(key) for key in found])
        return
    titles = ("prefix", "user", "state", "scopes", "last used", "name")
    print_columns([titles, *map(_row, found)] if found else [])
    if not found:
        print("There are no keys. `seen key add` makes one.")


@app.command()
def revoke(
    prefix: Annotated[
        str,
        typer.Argument(
            metavar="PREFIX", help="The eight characters behind seen_, as `seen key list` shows."
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """End a key at once and for good, and the sessions that were signed in with it."""
    from tasks.api.accounts import revoke_key

    revoked = revoke_key(Principal.local(), prefix, runtime=open_accounts())
    if as_json:
        formatting.print_json({"prefix": prefix, "revoked": revoked})
        return
    print(f"Key {prefix} {'is revoked' if revoked else 'was revoked already'}.")


def _print_new(new: NewKey, *, as_json: bool) -> None:
    if as_json:
        from tasks.api.accounts.as_json import key_as_json

        formatting.print_json({"key": new.secret, **key_as_json(new.key)})
    else:
        print(new.secret)
    sys.stdout.flush()
    if not as_json:
        scopes = ", ".join(new.key.scopes)
        say(f"This key of user {new.key.user_id} is not shown again. It may: {scopes}.")


def _keys(user: str | None) -> list[ApiKey]:
    if user is None and has_no_database(settings_module.load()):
        return []
    from tasks.api.accounts import list_keys as read

    return read(Principal.local(), user, runtime=open_accounts())


def _row(key: ApiKey) -> tuple[str, ...]:
    used = "never" if key.last_used_at is None else formatting.ago(key.last_used_at)
    return key.prefix, key.user_id, _state(key), " ".join(key.scopes), used, key.name


def _state(key: ApiKey) -> str:
    if key.revoked_at is not None:
        return "revoked"
    if not key.is_valid(datetime.now(UTC)):
        return "expired"
    return "valid" if key.expires_at is None else f"until {key.expires_at.astimezone():%Y-%m-%d}"
