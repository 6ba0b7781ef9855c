"""Headers, cookies and logins: as typed, or read from a file or the terminal."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import typer

from cli.arguments.cookie_file import CookieFile, read_cookies
from cli.arguments.header_file import read_headers
from cli.arguments.text_file import is_text, read_text
from cli.output.messages import clear_busy
from domain.errors import InvalidInputError
from domain.request_fields import HIDDEN

#: A longer text is not shown as the name of a file that does not exist.
_LONGEST_FILE_NAME = 64


def headers(given: Sequence[str]) -> dict[str, str]:
    """Return headers from ``Name: value``, or from a file of such lines, ``@FILE``.

    Raises:
        InvalidInputError: a header is malformed or repeated, or the file cannot be read.
    """
    found: dict[str, str] = {}
    for text in given:
        is_file = text.startswith("@")
        for name, value in (read_headers(text[1:]) if is_file else _header(text)).items():
            if name.lower() in map(str.lower, found):
                raise InvalidInputError("--header", name, "Each name may be given once.")
            found[name] = value
    return found


def _header(text: str) -> dict[str, str]:
    name, colon, value = text.partition(":")
    if not colon:
        raise InvalidInputError("--header", HIDDEN, "Write it as 'Name: value'.")
    return {name: value}


def cookies(given: str | None) -> str | CookieFile | None:
    """Return cookies as typed, or those of a file: ``@FILE``, or a text without ``=``, as in curl.

    Raises:
        InvalidInputError: there is no such file, or a line of it is no cookie.
    """
    if given is None or not is_text(given):
        return given  # the request refuses what is no text
    if given.startswith("@"):
        return read_cookies(given[1:])
    if "=" in given:
        return given
    if given != "-" and not (given and _exists(given)):
        shown = given if len(given) <= _LONGEST_FILE_NAME else HIDDEN  # it may be a cookie's value
        raise InvalidInputError(
            "--cookie",
            shown,
            "There is no such file. Write cookies as 'NAME=VALUE', or name a file that has them.",
        )
    return read_cookies(given)


def _exists(path: str) -> bool:
    try:
        return Path(path).expanduser().exists()
    except (OSError, RuntimeError):  # RuntimeError: `~name` of an unknown user
        return False


def refuse_stdin_twice(
    header: Sequence[str], cookie: str | None, user: str | None, input_file: str | None
) -> None:
    """Raise InvalidInputError where two options read standard input: the second would get nothing."""
    readers = ["--input-file"] if input_file == "-" else []
    readers += ["--header" for text in header if text == "@-"]
    readers += ["--cookie"] if cookie in {"-", "@-"} else []
    readers += ["--user"] if user is not None and user.partition(":")[2] == "@-" else []
    if len(readers) > 1:
        raise InvalidInputError(
            readers[1],
            "@-",
            f"{readers[0]} reads standard input already; use a file for one of them.",
        )


def login(given: str | None) -> tuple[str | None, str | None]:
    """Return user name and password from ``NAME:PASSWORD`` or ``NAME:@FILE``; NAME alone asks for it.

    Raises:
        InvalidInputError: the password is missing and there is no terminal, or the file cannot be read.
    """
    if given is None:
        return None, None
    name, colon, password = given.partition(":")
    if not colon:
        return name, _prompt_password(name)
    if password.startswith("@"):
        path = password[1:]
        password = read_text("--user", path).partition("\n")[0]
        if not password:
            raise InvalidInputError("--user", path, "Its first line, the password, is empty.")
    return name, password


def _prompt_password(name: str) -> str:
    if not sys.stdin.isatty():
        raise InvalidInputError(
            "--user",
            HIDDEN,
            "The login has no password, and there is no terminal to ask for it. Write NAME:@FILE "
            "(@- for standard input), or NAME: for an empty password. (The owner of a job is --owner.)",
        )
    clear_busy()
    password: str = typer.prompt(
        f"Password of {name!r} at the origin",
        hide_input=True,
        default="",
        show_default=False,
        err=True,
    )
    return password
