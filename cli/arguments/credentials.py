"""Headers, cookies and logins: as typed, or read from a file or the terminal."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import typer

from domain.errors import InvalidInputError
from domain.request_fields import HIDDEN, MAX_HEADER_OCTETS

#: Bytes read from a file; more than any valid value has.
_MAX_FILE_BYTES = 4 * MAX_HEADER_OCTETS


def headers(given: Sequence[str]) -> dict[str, str]:
    """Return headers from ``Name: value``, or from a file of such lines, ``@FILE``.

    Raises:
        InvalidInputError: a header is malformed or repeated, or the file cannot be read.
    """
    lines: list[str] = []
    for text in given:
        if text.startswith("@"):
            lines += [line for line in _read_file("--header", text).splitlines() if line.strip()]
        else:
            lines.append(text)
    found: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise InvalidInputError("--header", HIDDEN, "Write it as 'Name: value'.")
        if name in found:
            raise InvalidInputError("--header", name, "Each name may be given once.")
        found[name] = value
    return found


def cookies(given: str | None) -> str | None:
    """Return cookies as typed, or the content of a file, ``@FILE``."""
    if given is None or not given.startswith("@"):
        return given
    return _read_file("--cookie", given).strip()


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
        password = _read_file("--user", password).partition("\n")[0].rstrip("\r")
    return name, password


def _prompt_password(name: str) -> str:
    if not sys.stdin.isatty():
        raise InvalidInputError(
            "--user",
            HIDDEN,
            "The login has no password, and there is no terminal to ask for it. Write NAME:@FILE "
            "(@- for standard input), or NAME: for an empty password. (The owner of a job is --owner.)",
        )
    password: str = typer.prompt(
        f"Password of {name!r} at the origin",
        hide_input=True,
        default="",
        show_default=False,
        err=True,
    )
    return password


def _read_file(option: str, reference: str) -> str:
    """Return the text of ``@FILE``; ``@-`` is standard input."""
    path = reference[1:]
    try:
        if path == "-":
            data = sys.stdin.buffer.read(_MAX_FILE_BYTES)
        else:
            with Path(path).expanduser().open("rb") as file:
                data = file.read(_MAX_FILE_BYTES)
        return data.decode()
    except UnicodeDecodeError:
        raise InvalidInputError(option, reference, "The file is not UTF-8 text.") from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise InvalidInputError(option, reference, f"The file cannot be read: {why}.") from None
