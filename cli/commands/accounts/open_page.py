"""`seen open`: the page of the API in a browser, signed in."""

from __future__ import annotations

import os
import sys
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.context import open_accounts
from cli.errors import RefusedError
from cli.output import formatting
from cli.output.messages import say
from domain.access.principal import Principal
from seen_local.discovery import use_running_stack
from seen_local.own_files import create_own_file

if TYPE_CHECKING:
    from tasks.api.accounts import AccountParts, NewLink

#: The browser reads the address in a file of this user's: all users see the arguments of programs.
_FILE = "open.html"
_DOCUMENT = '<!doctype html><meta http-equiv="refresh" content="0;url={address}">\n'


def open_page(
    user: Annotated[
        str | None, typer.Option(metavar="NAME", help="Who is signed in; an admin by default.")
    ] = None,
    only_print: Annotated[
        bool, typer.Option("--print", help="Print the address, and open no browser.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON; open no browser.")] = False,
) -> None:
    """Open the page in a browser, signed in by a link that works once, within ten minutes.

    It is the page of `seen up`, or that of SEEN_API_URL.
    """
    stack = use_running_stack()
    parts = open_accounts()
    url = (stack.api_url if stack is not None else "") or parts.settings.api_url
    if not url:
        raise RefusedError(
            "No HTTP API runs here. Start `seen up`, or set SEEN_API_URL to the address of one."
        )
    link = _link(parts, user)
    address = page_address(url, link.token)
    if as_json:
        expires_at = link.expires_at.isoformat()
        formatting.print_json({"url": address, "user": link.user_id, "expires_at": expires_at})
    elif only_print or not _open(parts.settings.data_dir / _FILE, address):
        print(address)
    else:
        say(f"Opening {url} as {link.user_id}.")


def page_address(url: str, token: str) -> str:
    """Return the address that signs in: what follows `#` is sent to no server, and kept in no log."""
    return f"{url.rstrip('/')}/#/sign-in/{token}"


def _link(parts: AccountParts, user: str | None) -> NewLink:
    from tasks.api.accounts import any_admin, create_link

    if user is None:
        admin = any_admin(runtime=parts)
        if admin is None:
            raise RefusedError("No admin may sign in. Name another user: seen open --user NAME.")
        user = admin.id
    return create_link(Principal.local(), user, runtime=parts)


def _open(path: Path, address: str) -> bool:
    """Return whether a browser was started."""
    if not _has_browser():
        return False
    with os.fdopen(create_own_file(path), "w") as file:
        file.write(_DOCUMENT.format(address=address))
    try:
        return webbrowser.open(path.as_uri())
    except webbrowser.Error:
        return False


def _has_browser() -> bool:
    """Return whether there is a desktop, or a browser that the person has chosen."""
    shows = ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY")
    return sys.platform == "darwin" or any(os.environ.get(name) for name in shows)
