"""Headers, cookies and logins as they are typed, or read from where nobody looks over a shoulder."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import typer

from domain.errors import InvalidInputError
from domain.request_fields import HIDDEN, MAX_HEADER_OCTETS

#: More than anything that may stand in such a file.
_MOST = 4 * MAX_HEADER_OCTETS


def headers(given: Sequence[str]) -> dict[str, str]:
    """Return headers from ``Name: value``, or from a file of such lines, ``@FILE``.

    Raises:
        InvalidInputError: one of them is not written so, or stands there twice.
    """
    lines: list[str] = []
    for text in given:
        if text.startswith("@"):
            lines += [line for line in _read("--header", text).splitlines() if line.strip()]
        else:
            lines.append(text)
    found: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise InvalidInputError("--header", HIDDEN, "Write it as 'Name: value'.")
        if name in found:
            raise InvalidInputError("--header", name, "Each name may be given once only.")
        found[name] = value
    return found


def cookies(given: str | None) -> str | None:
    """Return cookies as typed, or as they stand in a file, ``@FILE``."""
    if given is None or not given.startswith("@"):
        return given
    return _read("--cookie", given).strip()


def login(given: str | None) -> tuple[str | None, str | None]:
    """Return user name and password from ``NAME:PASSWORD``, ``NAME:@FILE``, or NAME and a question.

    Raises:
        InvalidInputError: there is no password, and nobody to ask for one.
    """
    if given is None:
        return None, None
    name, colon, password = given.partition(":")
    if not colon:
        return name, _ask(name)
    if password.startswith("@"):
        password = _read("--login", password).partition("\n")[0].rstrip("\r")
    return name, password


def _ask(name: str) -> str:
    if not sys.stdin.isatty():
        raise InvalidInputError(
            "--login",
            HIDDEN,
            "It has no password, and there is no terminal to ask at. Write NAME:@FILE (@- for standard "
            "input), or NAME: for an empty one.",
        )
    answer: str = typer.prompt(
        f"Password of {name!r}", hide_input=True, default="", show_default=False, err=True
    )
    return answer


def _read(option: str, reference: str) -> str:
    """Return the text of ``@FILE``, or of standard input for ``@-``."""
    path = reference[1:]
    try:
        if path == "-":
            data = sys.stdin.buffer.read(_MOST)
        else:
            with Path(path).expanduser().open("rb") as file:
                data = file.read(_MOST)
        return data.decode()
    except UnicodeDecodeError:
        raise InvalidInputError(option, reference, "What it holds is not UTF-8.") from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise InvalidInputError(option, reference, f"It cannot be read: {why}.") from None
