"""`seen user`: the users of the API, their roles and sign-in links."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cli.commands.accounts.printing import print_columns
from cli.context import has_no_database, open_accounts
from cli.help.pages import SeenTyper
from cli.output import formatting
from cli.output.messages import say
from domain.access.principal import Principal, Role
from domain.text import printable
from seen_local.late_settings import settings_module

if TYPE_CHECKING:
    from database import User

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The user's name.")]

app = SeenTyper(help="Add, list and disable users of the API; change roles, and sign in.")


@app.command()
def add(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="Lower-case letters, digits, dots, dashes and underscores."
        ),
    ],
    role: Annotated[
        Role, typer.Option(metavar="ROLE", help="What it may do: admin, user or viewer.")
    ] = Role.USER,
    as_json: AsJson = False,
) -> None:
    """Add a user. It signs in with a key (`seen key add`) or a link (`seen user link`).

    An admin may do everything, a user submits jobs and sees its own, a viewer sees all jobs. Jobs with
    this name as their owner are the user's, earlier ones, too.
    """
    from tasks.api.accounts import add_user

    user = add_user(Principal.local(), name, role, runtime=open_accounts())
    _print(user, f"User {user.id} was added with the role {user.role}.", as_json=as_json)


@app.command("list")
def list_users(as_json: AsJson = False) -> None:
    """List the users, disabled ones, too."""
    found = [] if has_no_database(settings_module.load()) else _all_users()
    if as_json:
        from tasks.api.accounts.as_json import user_as_json

        formatting.print_json([user_as_json(user) for user in found])
        return
    print_columns([("name", "role", "state", "added"), *map(_row, found)] if found else [])
    if not found:
        print("There are no users. `seen user add` adds one.")


@app.command()
def disable(name: Name, as_json: AsJson = False) -> None:
    """End a user's keys and sessions at once and for good. Its jobs go on."""
    from tasks.api.accounts import disable_user

    user = disable_user(Principal.local(), name, runtime=open_accounts())
    ended = "Its keys and sessions have ended, and nothing is delivered to its webhooks."
    text = f"User {user.id} is disabled. {ended}"
    _print(user, text, as_json=as_json)


@app.command()
def enable(name: Name, as_json: AsJson = False) -> None:
    """Let a disabled user sign in again, with new keys and links."""
    from tasks.api.accounts import enable_user

    user = enable_user(Principal.local(), name, runtime=open_accounts())
    _print(user, f"User {user.id} is enabled. `seen key add` makes a new key.", as_json=as_json)


@app.command()
def role(
    name: Name,
    new_role: Annotated[
        Role, typer.Argument(metavar="ROLE", help="The new role: admin, user or viewer.")
    ],
    as_json: AsJson = False,
) -> None:
    """Change a user's role, from its next request on."""
    from tasks.api.accounts import set_role

    user = set_role(Principal.local(), name, new_role, runtime=open_accounts())
    _print(user, f"User {user.id} has the role {user.role}.", as_json=as_json)


@app.command()
def link(name: Name, as_json: AsJson = False) -> None:
    """Make a link with which a user signs in once, within ten minutes."""
    from tasks.api.accounts import create_link

    new = create_link(Principal.local(), name, runtime=open_accounts())
    if as_json:
        expires_at = new.expires_at.isoformat()
        formatting.print_json({"user": new.user_id, "token": new.token, "expires_at": expires_at})
        return
    print(new.token)
    until = formatting.moment(new.expires_at)
    say(f"User {new.user_id} signs in with this once, until {until}.")


def _all_users() -> list[User]:
    from tasks.api.accounts import list_users as read

    return read(Principal.local(), runtime=open_accounts())


def _row(user: User) -> tuple[str, ...]:
    added = "" if user.created_at is None else formatting.moment(user.created_at)
    return user.id, user.role, "enabled" if user.is_enabled else "disabled", added


def _print(user: User, text: str, *, as_json: bool) -> None:
    if as_json:
        from tasks.api.accounts.as_json import user_as_json

        formatting.print_json(user_as_json(user))
        return
    print(printable(text))
