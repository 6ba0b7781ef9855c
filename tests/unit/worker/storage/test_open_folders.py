"""A folder is opened once for all that use it, and again when its path leads elsewhere."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from worker.storage.folders import OpenFolders
from worker.storage.part_file import PartFile


def test_users_of_one_folder_share_its_descriptor(tmp_path: Path) -> None:
    folders = OpenFolders()
    first, second = folders.open(tmp_path), folders.open(tmp_path)
    assert first == second
    folders.close(first)
    assert os.path.samestat(os.fstat(second), tmp_path.stat()), "one user is left"
    folders.close(second)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(second)


def test_a_folder_is_created(tmp_path: Path) -> None:
    folders = OpenFolders()
    fd = folders.open(tmp_path / "a" / "b")
    assert os.path.samestat(os.fstat(fd), (tmp_path / "a" / "b").stat())
    folders.close(fd)


@pytest.mark.parametrize("is_made_again", [False, True])
def test_a_folder_that_was_replaced_is_opened_again(tmp_path: Path, is_made_again: bool) -> None:
    folders, path = OpenFolders(), tmp_path / "a"
    before = folders.open(path)
    path.rename(tmp_path / "moved")
    if is_made_again:
        path.mkdir()
    after = folders.open(path)
    assert not os.path.samestat(os.fstat(before), os.fstat(after))
    assert os.path.samestat(os.fstat(before), (tmp_path / "moved").stat())
    assert os.path.samestat(os.fstat(after), path.stat())
    third = folders.open(path)
    assert third == after
    for fd in (before, after, third):
        folders.close(fd)


def test_a_link_in_the_place_of_a_folder_is_refused(tmp_path: Path) -> None:
    folders, path = OpenFolders(), tmp_path / "a"
    fd = folders.open(path)
    path.rename(tmp_path / "moved")
    path.symlink_to(tmp_path / "moved")
    with pytest.raises(NotADirectoryError):
        folders.open(path)
    folders.close(fd)


def test_published_files_are_found_by_all_at_once(tmp_path: Path) -> None:
    """However many look for theirs in the folder, whose descriptor they share."""
    folders, count = OpenFolders(), 24
    ids = [str(number) for number in range(count)]
    for job_id in ids:
        with PartFile(tmp_path, job_id, folders=folders) as part:
            part.publish(f"file-{job_id}", overwrite=False, digests=[])

    def find(job_id: str) -> str | None:
        with PartFile(tmp_path, job_id, folders=folders) as part:
            published = part.find_published()
            return None if published is None else published.path.name

    with ThreadPoolExecutor(count) as threads:
        for _ in range(5):
            assert list(threads.map(find, ids)) == [f"file-{job_id}" for job_id in ids]
