"""From what was typed to checked requests; anything wrong is an error before anything happens."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from cli.arguments import credentials
from cli.output import formatting
from domain.errors import InvalidInputError
from domain.job import SECRET_FIELDS, Checksum, DownloadRequest, Priority
from domain.request_fields import HIDDEN


def build(
    urls: Sequence[str],
    *,
    directory: str,
    name: str | None,
    sha256: str | None,
    checksum: str | None,
    overwrite: bool,
    user_id: str | None = None,
    max_attempts: int | None = None,
    mirrors: Sequence[str] | None = None,
    headers: Sequence[str] | None = None,
    login: str | None = None,
    cookie: str | None = None,
    max_bytes: str | None = None,
    connections: int | None = None,
    decode: bool = False,
    ignore_origin_digests: bool = False,
    priority: Priority = Priority.NORMAL,
    idempotency_key: str | None = None,
) -> list[DownloadRequest]:
    """Return one request a URL; the same URL twice is one request. May ask for a password.

    Raises:
        InvalidInputError: names the option and the remedy.
    """
    digest = _checksum(sha256, checksum)
    if len(urls) > 1:
        for option, value in (
            ("--name", name),
            ("--sha256 or --checksum", digest),
            ("--mirror", mirrors or None),
            ("--idempotency-key", idempotency_key),
        ):
            if value is not None:
                raise InvalidInputError(option, value, "It goes with one URL only.")
    options: dict[str, object] = {
        "directory": directory,
        "name": name,
        "checksum": digest,
        "overwrite": overwrite,
        "user_id": user_id,
        "max_attempts": max_attempts,
        "mirrors": mirrors or (),
        "headers": credentials.headers(headers or ()),
        "cookies": credentials.cookies(cookie),
        "max_bytes": None if max_bytes is None else formatting.parse_size("--max-bytes", max_bytes),
        "connections": connections,
        "decode": decode,
        "ignore_origin_digests": ignore_origin_digests,
        "priority": priority,
        "idempotency_key": idempotency_key,
    }
    different = list(dict.fromkeys(urls))
    for url in different:
        _request({"url": url, **options})  # nobody is asked for a password in vain
    options["username"], options["password"] = credentials.login(login)
    return [_request({"url": url, **options}) for url in different]


def _checksum(sha256: str | None, checksum: str | None) -> str | None:
    if sha256 is None:
        return checksum
    if checksum is not None:
        raise InvalidInputError("--checksum", checksum, "Give --sha256 or --checksum, not both.")
    return str(Checksum.parse(f"sha256:{sha256}"))


def _request(values: dict[str, object]) -> DownloadRequest:
    for field, value in values.items():
        if isinstance(value, str) and not _is_text(value):
            shown = HIDDEN if field in SECRET_FIELDS else value
            raise InvalidInputError(field, shown, "It is not valid UTF-8.")
    return DownloadRequest.model_validate(values)


def _is_text(value: str) -> bool:
    """Say whether text can be written as UTF-8: unreadable bytes of a command line cannot."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def folder(output: str) -> str:
    """Return the absolute folder that ``--output`` names, if files can be put there.

    Raises:
        InvalidInputError: it is a file, or it could not be made or written.
    """
    if not _is_text(output) or "\0" in output:
        raise InvalidInputError("--output", output, "It is not a folder's name.")
    target = Path(output).expanduser().resolve()
    there = target
    while not there.exists():
        there = there.parent
    if not there.is_dir():
        raise InvalidInputError("--output", output, f"{there} is a file; name a folder.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise InvalidInputError("--output", output, f"{there} cannot be written.")
    return str(target)
