"""Files of completed downloads: read, or fetched to a file of one's own and checked."""

from __future__ import annotations

import hashlib
import os
import re
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO

from seen_client.answers import opened
from seen_client.errors import (
    FileCheckError,
    InvalidRequestError,
    NoAnswerError,
    ProblemError,
    UnexpectedAnswerError,
)
from seen_client.operations.downloads import show
from seen_client.repeating import may_repeat, pause_after
from seen_client.service import Service, path_of
from seen_client.steps import Emit, Flow, Head, Pause, Request, Stream, read, work

_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19})", re.ASCII)
_STRONG_TAG = re.compile(r'"[\x21\x23-\x7e]*"')
_CHUNK = 2**20


def read_file(
    service: Service, download_id: str, *, start: int = 0, end: int | None = None
) -> Stream[bytes]:
    """Yield the bytes of the file of a completed download, or of a part of it.

    A connection that breaks is made again, and the file continued if it is the same. The digest is not
    checked; `fetch` does that.

    Args:
        download_id: of the download.
        start: the first byte.
        end: before which byte to stop; None for the end of the file.

    Raises:
        ConflictError: it is not completed.
        GoneError: its file is gone.
        FileCheckError: the file has changed meanwhile.
    """
    reader = _FileReader(service, download_id, start, end)
    while data := (yield from reader.chunk()):
        yield Emit(data)


def fetch(
    service: Service, download_id: str, target: str | os.PathLike[str], *, overwrite: bool = False
) -> Flow[Path]:
    """Write the file of a completed download to a file, check its size and SHA-256, and return its path.

    The bytes are in ``.NAME.ID.part`` beside it until they are complete. One that an earlier call has
    left is continued. Two calls at once for one target are for you to avoid.

    Args:
        download_id: of the download.
        target: the file.
        overwrite: replace it if it exists.

    Raises:
        FileExistsError: the target exists.
        ConflictError: the download is not completed.
        GoneError: its file is gone.
        FileCheckError: the bytes are not those of the file; they were removed.
    """
    target = Path(target)
    if not overwrite and os.path.lexists(target):
        raise FileExistsError(f"{target} exists.")
    shown = yield from show(service, download_id)
    part = target.with_name(f".{target.name}.{shown.id}.part")
    if shown.sha256 is None:
        part.unlink(missing_ok=True)  # whether it can be continued could not be checked
    try:
        yield from _completed(service, download_id, part, shown.sha256)
        yield from work(partial(_publish, part, target, overwrite))
    finally:
        _remove_empty(part)
    return target


def _completed(service: Service, download_id: str, part: Path, sha256: str | None) -> Flow[None]:
    """Complete a part file. One that cannot be continued starts again."""
    is_continued = part.exists()
    try:
        yield from _received(service, download_id, part, sha256)
    except (FileCheckError, InvalidRequestError):  # such as a range that the file does not have
        part.unlink(missing_ok=True)
        if not is_continued:
            raise
        yield from _received(service, download_id, part, sha256)


def _received(service: Service, download_id: str, part: Path, sha256: str | None) -> Flow[None]:
    """Write what is missing of a file to its part file, and check the whole."""
    with open(part, "a+b", opener=_opener) as output:
        digest = yield from work(partial(_digest_of, output))
        start = output.tell()
        if not start or digest.hexdigest() != sha256:
            reader = _FileReader(service, download_id, start, None)
            while data := (yield from reader.chunk()):
                yield from work(partial(_write, output, digest, data))
        yield from work(partial(_sync, output))
    if sha256 is not None and digest.hexdigest() != sha256:
        raise FileCheckError(f"The file of {download_id} has another SHA-256 than it should have.")


def _opener(path: str, flags: int) -> int:
    """Open a file that is no link: another user of the folder may have put one where its name is."""
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)


def _digest_of(output: BinaryIO) -> hashlib._Hash:
    """Return the digest of what a file has, and go to its end."""
    output.seek(0)
    digest = hashlib.sha256()
    while data := output.read(_CHUNK):
        digest.update(data)
    return digest


def _write(output: BinaryIO, digest: hashlib._Hash, data: bytes) -> None:
    output.write(data)
    digest.update(data)


def _sync(output: BinaryIO) -> None:
    output.flush()
    os.fsync(output.fileno())


def _remove_empty(part: Path) -> None:
    if part.exists() and part.stat().st_size == 0:
        part.unlink()


def _publish(part: Path, target: Path, overwrite: bool) -> None:
    if not overwrite:
        with suppress(PermissionError, NotImplementedError):  # this file system has no links
            os.link(part, target)
            part.unlink()
            return
    part.replace(target)


class _FileReader:
    """Reads a range of a file over as many connections as it takes.

    Args:
        download_id: of the download.
        start: the first byte.
        end: before which to stop; None for the end of the file.
    """

    def __init__(self, service: Service, download_id: str, start: int, end: int | None) -> None:
        if start < 0 or (end is not None and end <= start):
            raise ValueError("A range begins at 0 or later, and ends after its start.")
        self._service, self._path = service, path_of(download_id, "/file")
        self._position, self._end = start, end
        self._tag: str | None = None
        self._is_open = False
        self._failures, self._last_success = 0, time.monotonic()

    def chunk(self) -> Flow[bytes]:
        """Return the next bytes; none at the end."""
        while True:
            request = self._request()
            try:
                if not self._is_open:
                    self._begin((yield from opened(self._service, request)))
                data = yield from read()
                self._check_end(data)
            except (NoAnswerError, ProblemError) as error:
                self._is_open = False
                yield Pause(self._pause(request, error))
                continue
            self._count(data)
            return data

    def _check_end(self, data: bytes) -> None:
        if not data and self._end is not None and self._position < self._end:
            raise NoAnswerError("The connection has ended before the file.")

    def _request(self) -> Request:
        headers = {}
        if self._position or self._end is not None:
            last = "" if self._end is None else self._end - 1
            headers["Range"] = f"bytes={self._position}-{last}"
        if self._tag is not None:
            headers["If-Range"] = self._tag
        return Request(
            "GET",
            self._path,
            headers=headers,
            is_repeatable=True,
            accept="application/octet-stream",
        )

    def _begin(self, head: Head) -> None:
        """Take over what an answer says of the file and of its own range."""
        tag = head.headers.get("etag", "")
        if not _STRONG_TAG.fullmatch(tag):
            raise UnexpectedAnswerError(
                "The answer has no ETag, so the file could not be continued."
            )
        start, end = _range_of(head)
        is_other = self._tag is not None and tag != self._tag
        if is_other or start != self._position:
            raise FileCheckError(
                "The file has changed, or its service does not serve ranges of it."
            )
        self._end = end if self._end is None else min(self._end, end)
        self._tag, self._is_open = tag, True

    def _count(self, data: bytes) -> None:
        self._position += len(data)
        self._failures, self._last_success = 0, time.monotonic()
        if self._end is not None and self._position > self._end:
            raise FileCheckError("More bytes have come than the file has.")

    def _pause(self, request: Request, error: NoAnswerError | ProblemError) -> float:
        """Return the seconds before the next connection; raise the error if there is to be none."""
        pause = pause_after(self._failures, error)
        is_over = time.monotonic() + pause - self._last_success > self._service.retry_for
        if is_over or not may_repeat(request, error):
            raise error
        self._failures += 1
        return pause


def _range_of(head: Head) -> tuple[int, int]:
    """Return where the bytes of an answer begin, and before which they end."""
    length = head.headers.get("content-length", "")
    if head.status == 200 and re.fullmatch(r"\d{1,19}", length, re.ASCII):
        return 0, int(length)
    found = _RANGE.fullmatch(head.headers.get("content-range", ""))
    if head.status != 206 or found is None or not int(found[1]) <= int(found[2]) < int(found[3]):
        raise UnexpectedAnswerError("The answer does not say which bytes of the file it has.")
    return int(found[1]), int(found[2]) + 1
