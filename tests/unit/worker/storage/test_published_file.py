"""A published file is removed only while it is the one that its job published."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from worker.storage.published_file import FileKeptError, remove_published_file

CONTENT = b"film" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
FINISHED_AT = datetime(2026, 3, 1, tzinfo=UTC)
BEFORE = (FINISHED_AT - timedelta(seconds=1)).timestamp()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "films" / "film.mkv"
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    os.utime(path, (BEFORE, BEFORE))
    return path


def remove(path: Path, *, sha256: str | None = SHA256) -> bool:
    return remove_published_file("1", str(path), sha256=sha256, finished_at=FINISHED_AT)


def test_the_published_file_is_removed_alone(path: Path) -> None:
    other = path.with_name("other.mkv")
    os.link(path, other)
    assert remove(path)
    assert not path.exists()
    assert other.read_bytes() == CONTENT
    assert not remove(path)  # it is gone already


def test_a_file_whose_folder_is_gone_is_gone(tmp_path: Path) -> None:
    assert not remove(tmp_path / "none" / "film.mkv")


def _replace(path: Path, content: bytes, *, mtime: float | None) -> None:
    path.unlink()
    path.write_bytes(content)
    if mtime is not None:
        os.utime(path, (mtime, mtime))


def _link_to_copy(path: Path) -> None:
    copy = path.rename(path.with_name("copy"))
    path.symlink_to(copy)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


CHANGES: dict[str, Callable[[Path], object]] = {
    "other content": lambda path: _replace(path, b"x" * len(CONTENT), mtime=BEFORE),
    "shorter": lambda path: _replace(path, CONTENT[:-1], mtime=BEFORE),
    "longer": lambda path: _replace(path, CONTENT + b"x", mtime=BEFORE),
    "empty": lambda path: _replace(path, b"", mtime=BEFORE),
    "written again with the same content": lambda path: _replace(path, CONTENT, mtime=None),
    "a symbolic link to it": _link_to_copy,
    "a folder": _folder,
    "a FIFO": _fifo,
}


@pytest.mark.parametrize("change", CHANGES)
def test_another_file_is_kept(path: Path, change: str) -> None:
    CHANGES[change](path)
    with pytest.raises(FileKeptError, match="is kept"):
        remove(path)
    assert os.path.lexists(path)


def test_a_file_without_known_digest_is_kept(path: Path) -> None:
    with pytest.raises(FileKeptError):
        remove(path, sha256=None)
    assert path.exists()
