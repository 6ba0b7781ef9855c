"""What is not ours at the names that a download works with: each kind, name and phase."""

from __future__ import annotations

import os
import signal
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from domain.errors import PermanentError
from seen_local.own_files import ForeignFileError, create_own_file, open_folder, open_own_file
from worker.storage.destination import Checkpoint
from worker.storage.part_file import WORKING_SUFFIXES, PartFile

JOB = "01890a5d-ac96-774b-bcce-b302099a8057"
BODY = b"the right bytes"
PRECIOUS = b"another program's file"

Plant = Callable[[Path, Path], None]


def _socket(path: Path, _elsewhere: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        # A socket's path is short; the file stays when the socket is closed.
        folder = os.open(path.parent, os.O_RDONLY)
        server.bind(f"/proc/self/fd/{folder}/{path.name}")
        os.close(folder)


def _device(path: Path, _elsewhere: Path) -> None:
    try:
        os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("this user may make no devices")


def _of_another_user(path: Path, _elsewhere: Path) -> None:
    path.write_bytes(PRECIOUS)
    try:
        os.chown(path, 12345, 12345)
    except PermissionError:
        pytest.skip("this user may give no files away")


KINDS: dict[str, Plant] = {
    "symbolic link": lambda path, elsewhere: path.symlink_to(elsewhere),
    "dangling link": lambda path, elsewhere: path.symlink_to(elsewhere.with_name("nothing")),
    "link to a folder": lambda path, elsewhere: path.symlink_to(elsewhere.parent),
    "hard link": lambda path, elsewhere: path.hardlink_to(elsewhere),
    "fifo": lambda path, _elsewhere: os.mkfifo(path),
    "socket": _socket,
    "device": _device,
    "another user's": _of_another_user,
    "folder": lambda path, _elsewhere: path.mkdir(),
}


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A file that nothing may touch, whatever points at it."""
    path = tmp_path / "elsewhere" / "precious"
    path.parent.mkdir()
    path.write_bytes(PRECIOUS)
    path.chmod(0o640)
    yield path
    assert path.read_bytes() == PRECIOUS
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert [one.name for one in path.parent.iterdir()] == ["precious"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "downloads"
    path.mkdir()
    return path


@pytest.fixture(autouse=True)
def no_hanging() -> Iterator[None]:
    """A FIFO that is opened the usual way waits for ever: end the test then."""
    signal.alarm(30)
    yield
    signal.alarm(0)


def whole_download(folder: Path, *, overwrite: bool = False) -> Path:
    """Write, checkpoint, publish and clean up."""
    with PartFile(folder, JOB) as part:
        part.write_at([BODY], 0)
        part.truncate(len(BODY))
        part.write_checkpoint(Checkpoint(written=((0, len(BODY)),)))
        path = part.publish("film.mkv", overwrite=overwrite)
        part.remove_working_files()
    return path


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


@pytest.mark.parametrize("suffix", WORKING_SUFFIXES)
@pytest.mark.parametrize("kind", KINDS)
def test_download_that_starts_is_right_or_fails_at_once(
    folder: Path, elsewhere: Path, kind: str, suffix: str
) -> None:
    planted = folder / f".seen-{JOB}{suffix}"
    KINDS[kind](planted, elsewhere)
    if kind == "folder" and suffix != ".new" and suffix != ".try":
        with pytest.raises(PermanentError, match="is a folder") as caught:
            whole_download(folder)
        assert caught.value.code == "foreign_file"
        assert planted.is_dir()
    elif kind == "folder":
        with pytest.raises(ForeignFileError):  # its clean-up leaves what is none of ours
            whole_download(folder)
        assert (folder / "film.mkv").read_bytes() == BODY
    else:
        assert whole_download(folder).read_bytes() == BODY
        assert [path.name for path in folder.iterdir()] == ["film.mkv"]


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("suffix", [".tmp", ".new", ".publish", ".json", ".try"])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "folder"])
def test_names_that_are_planted_before_publishing_are_not_written_to(
    folder: Path, elsewhere: Path, kind: str, suffix: str, overwrite: bool
) -> None:
    (folder / "film.mkv").write_bytes(b"old")
    with PartFile(folder, JOB) as part:
        part.write_at([BODY], 0)
        KINDS[kind](folder / f".seen-{JOB}{suffix}", elsewhere)
        part.write_checkpoint(Checkpoint(written=((0, len(BODY)),)))
        path = part.publish("film.mkv", overwrite=overwrite)
        part.remove_working_files()
    assert path.read_bytes() == BODY
    assert visible(folder) == (["film.mkv"] if overwrite else ["film (1).mkv", "film.mkv"])


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "folder"])
def test_part_file_that_is_swapped_while_it_is_written_is_not_published(
    folder: Path, elsewhere: Path, kind: str
) -> None:
    """What gets the name is what was written, not what has the part file's name by then."""
    with PartFile(folder, JOB) as part:
        part.write_at([BODY], 0)
        part.path.rename(folder / ".moved-away")
        KINDS[kind](part.path, elsewhere)
        path = part.publish("film.mkv", overwrite=False)
        part.remove_working_files()
    assert path.read_bytes() == BODY


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "folder"])
def test_resumed_download_trusts_no_foreign_part_file(
    folder: Path, elsewhere: Path, kind: str
) -> None:
    with PartFile(folder, JOB) as part:
        part.write_at([BODY], 0)
        part.write_checkpoint(Checkpoint(written=((0, len(BODY)),)))
        part.path.unlink()
    KINDS[kind](folder / f".seen-{JOB}.part", elsewhere)
    with PartFile(folder, JOB) as part:
        assert (part.size, part.checkpoint) == (0, Checkpoint())
        assert part.path.lstat().st_nlink == 1
        assert stat.S_ISREG(part.path.lstat().st_mode)
        assert any("started an empty part file" in note for note in part.notes)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "folder"])
def test_resumed_download_trusts_no_foreign_checkpoint(
    folder: Path, elsewhere: Path, kind: str
) -> None:
    with PartFile(folder, JOB) as part:
        part.write_at([BODY], 0)
    elsewhere.write_bytes(PRECIOUS)
    KINDS[kind](folder / f".seen-{JOB}.json", elsewhere)
    with PartFile(folder, JOB) as part:
        assert part.checkpoint == Checkpoint()


@pytest.mark.parametrize("suffix", WORKING_SUFFIXES)
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "folder"])
def test_clean_up_removes_names_and_not_what_they_lead_to(
    folder: Path, elsewhere: Path, kind: str, suffix: str
) -> None:
    with PartFile(folder, JOB) as part:
        part.path.unlink()
        KINDS[kind](folder / f".seen-{JOB}{suffix}", elsewhere)
        part.remove_working_files()
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "folder"])
def test_overwriting_replaces_a_name_and_not_what_it_leads_to(
    folder: Path, elsewhere: Path, kind: str
) -> None:
    KINDS[kind](folder / "film.mkv", elsewhere)
    assert whole_download(folder, overwrite=True).read_bytes() == BODY
    assert [path.name for path in folder.iterdir()] == ["film.mkv"]


def test_overwriting_does_not_replace_a_folder(folder: Path) -> None:
    (folder / "film.mkv").mkdir()
    with pytest.raises(PermanentError, match="is a folder") as caught:
        whole_download(folder, overwrite=True)
    assert caught.value.code == "bad_path"


def test_folder_that_is_swapped_for_a_link_changes_nothing(
    folder: Path, elsewhere: Path, tmp_path: Path
) -> None:
    with PartFile(folder, JOB) as part:
        part.write_at([BODY], 0)
        folder.rename(tmp_path / "moved")
        folder.symlink_to(elsewhere.parent)
        part.publish("film.mkv", overwrite=False)
        part.remove_working_files()
    assert visible(tmp_path / "moved") == ["film.mkv"]


def test_link_on_the_way_to_a_folder_is_refused(tmp_path: Path, elsewhere: Path) -> None:
    (tmp_path / "link").symlink_to(elsewhere.parent)
    with pytest.raises(PermanentError) as caught:
        PartFile(tmp_path / "link", JOB)
    assert caught.value.code == "bad_path"


# ── the function that opens them ────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_RDWR | os.O_CREAT])
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_foreign_is_opened(folder: Path, elsewhere: Path, kind: str, flags: int) -> None:
    path = folder / "name"
    KINDS[kind](path, elsewhere)
    with pytest.raises(ForeignFileError, match=r"Remove it\."):
        open_own_file(path, flags)
    descriptor = open_folder(folder)
    with pytest.raises(ForeignFileError):
        open_own_file(path, flags, folder=descriptor)
    os.close(descriptor)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "folder"])
def test_new_file_takes_the_name_of_what_was_there(
    folder: Path, elsewhere: Path, kind: str
) -> None:
    path = folder / "name"
    KINDS[kind](path, elsewhere)
    os.close(create_own_file(path))
    status = path.lstat()
    assert (stat.S_ISREG(status.st_mode), status.st_size, status.st_nlink) == (True, 0, 1)
    assert stat.S_IMODE(status.st_mode) == 0o600
