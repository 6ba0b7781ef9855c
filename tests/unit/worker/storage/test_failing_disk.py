"""A disk that fails once, at any call: the error is ours, and the next attempt finds what there is."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from domain.errors import DiskUnavailableError, SeenError
from worker.storage import folder_check
from worker.storage.part_file import PartFile

JOB = "01890a5d-ac96-774b-bcce-b302099a8057"
DIGESTS = [f"sha256:{hashlib.sha256(b'body').hexdigest()}"]
#: All calls of the disk that opening, publishing and cleaning up make, but `close`.
CALLS = (
    *("open", "stat", "lstat", "fstat", "statvfs", "scandir", "link", "unlink", "rename", "write"),
    *("pwritev", "ftruncate", "fchmod", "fsync", "setxattr", "getxattr", "removexattr"),
)


class Disk:
    """The calls of `os`, of which the one with this number fails.

    Attributes:
        failed: the name of the call that failed.
    """

    def __init__(self, fails_at: int, *, has_links: bool) -> None:
        self._left, self._has_links = fails_at, has_links
        self.failed: str | None = None

    def call(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        """Return a call that may fail."""

        def call(*arguments: Any, **options: Any) -> Any:
            if name == "link" and not self._has_links:
                raise OSError(errno.EPERM, "no links here")
            self._left -= 1
            if self._left == -1:
                self.failed = name
                raise OSError(errno.EIO, "Input/output error")
            return real(*arguments, **options)

        return call

    def patch(self, patch: pytest.MonkeyPatch) -> None:
        for name in CALLS:
            patch.setattr(os, name, self.call(name, getattr(os, name)))


def attempt(folder: Path) -> None:
    """Adopt the file that an earlier attempt published, else publish it."""
    with PartFile(folder, JOB) as part:
        if part.find_published() is None:
            part.discard()
            part.write_at([b"body"], 0)
            part.publish("film.mkv", overwrite=False, digests=DIGESTS)


def clean_up(folder: Path) -> None:
    with PartFile(folder, JOB) as part:
        part.remove_working_files()


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def complaints_of(folder: Path, disk: Disk, *, is_second: bool) -> list[str]:
    wrong = []
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        Disk(-1, has_links=disk._has_links).patch(patch)
        if is_second:
            attempt(folder)
    folder_check._known.clear()
    before = open_files()
    with pytest.MonkeyPatch.context() as patch:
        disk.patch(patch)
        try:
            attempt(folder)
        except SeenError:
            pass
        except OSError as error:
            wrong.append(f"raises {error!r}")
    if open_files() != before:
        wrong.append("leaves a descriptor open")
    with pytest.MonkeyPatch.context() as patch:
        Disk(-1, has_links=disk._has_links).patch(patch)
        attempt(folder)
        clean_up(folder)
    names = sorted(one.name for one in folder.iterdir() if f".seen-{JOB}" in one.name)
    names += sorted(one.name for one in folder.iterdir() if not one.name.startswith(".seen-"))
    if names != ["film.mkv"]:
        wrong.append(f"leaves {names}")
    return [f"{disk.failed} {one}" for one in wrong]


@pytest.mark.parametrize("is_second", [False, True], ids=["first attempt", "after a crash"])
@pytest.mark.parametrize("has_links", [True, False], ids=["links", "no links"])
def test_an_error_at_any_call_gives_no_second_file(
    tmp_path: Path, has_links: bool, is_second: bool
) -> None:
    wrong, number = [], 0
    while True:
        disk = Disk(number, has_links=has_links)
        wrong += complaints_of(tmp_path / str(number), disk, is_second=is_second)
        if disk.failed is None:
            break
        number += 1
    assert wrong == []
    assert number > 15


@pytest.mark.parametrize(
    ("number", "is_certain"),
    [
        *((one, True) for one in (errno.ENODATA, errno.EOPNOTSUPP, errno.ENOSYS, errno.ERANGE)),
        *((one, True) for one in (errno.EPERM, errno.EACCES, errno.EINVAL, errno.E2BIG)),
        *((one, False) for one in (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN)),
    ],
    ids=lambda one: errno.errorcode.get(one) if one > 1 else None,
)
def test_a_record_that_cannot_be_read_now_is_not_taken_for_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, is_certain: bool
) -> None:
    attempt(tmp_path)

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as broken:
        broken.setattr(os, "getxattr", refuse)
        if not is_certain:
            with pytest.raises(DiskUnavailableError):
                attempt(tmp_path)
        else:
            attempt(tmp_path)
    clean_up(tmp_path)
    names = {one.name for one in tmp_path.iterdir()}
    assert names == {"film.mkv", *(["film (1).mkv"] if is_certain else [])}
