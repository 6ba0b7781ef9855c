"""What `seen` says of folders that cannot be used, and links in the data folder."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.faults.refusing_disk import RefusingDisk
from tests.support.services.seen import Seen


@pytest.fixture
def disk(tmp_path: Path) -> RefusingDisk:
    return RefusingDisk(tmp_path)


@pytest.fixture
def seen(tmp_path: Path, disk: RefusingDisk) -> Iterator[Seen]:
    with Seen(tmp_path, **disk.environment, SEEN_DOWNLOAD_DIR=str(tmp_path / "files")) as person:
        yield person


@pytest.mark.parametrize("name", ["ENOSYS", "ENOLCK"])
def test_data_folder_without_locks_is_named_with_what_to_do(
    seen: Seen, disk: RefusingDisk, name: str
) -> None:
    disk.refuse(f"flock {getattr(errno, name)} {seen.data_dir}")
    result = seen.run("get", "http://127.0.0.1:9/a")
    assert result.status != 0
    line = result.error_line()
    assert str(seen.data_dir) in line
    assert "SEEN_DATA_DIR" in line
    assert "Errno" not in line


def test_link_at_a_name_in_the_data_folder_is_refused(seen: Seen, tmp_path: Path) -> None:
    seen.data_dir.mkdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("precious")
    (seen.data_dir / "start.lock").symlink_to(elsewhere)
    result = seen.run("get", "http://127.0.0.1:9/a")
    assert "is a symbolic link" in result.error_line()
    assert elsewhere.read_text() == "precious"


def test_doctor_names_a_folder_that_cannot_be_used(
    seen: Seen, disk: RefusingDisk, tmp_path: Path
) -> None:
    files = tmp_path / "files"
    files.mkdir()
    disk.refuse(f"open {errno.EROFS} {files}")
    found = {one["check"]: one for one in seen.run("doctor", "--json").json()}
    finding = found["download folder"]
    assert finding["level"] == "problem"
    assert str(files) in finding["message"]
    assert "Read-only file system" in finding["message"]


def test_doctor_goes_on_where_the_free_space_is_unknown(
    seen: Seen, disk: RefusingDisk, tmp_path: Path
) -> None:
    files = tmp_path / "files"
    files.mkdir()
    disk.refuse(f"statvfs {errno.ENOSYS} {files}")
    found = {one["check"]: one for one in seen.run("doctor", "--json").json()}
    assert found["free space"]["level"] == "warning"
    assert str(files) in found["free space"]["message"]
