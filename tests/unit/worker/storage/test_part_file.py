"""The part file: writing anywhere, beginning anew, and which checkpoints are believed."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from domain.errors import DiskUnavailableError, PermanentError, TransientError
from worker.storage.destination import Checkpoint
from worker.storage.disk_space import DiskSpace
from worker.storage.local_destinations import LocalDestinations
from worker.storage.part_file import PartFile

JOB = "01890a5d-ac96-774b-bcce-b302099a8057"
ROOT = Path(__file__).resolve().parents[4]


def described(*written: tuple[int, int], total: int | None = 10) -> Checkpoint:
    return Checkpoint(
        written=written,
        total=total,
        validator='"a"',
        etag='"a"',
        last_modified="Wed",
        name="film.mkv",
        source="0" * 64,
        digests=("md5:0123456789abcdef0123456789abcdef",),
    )


def checkpoint_path(folder: Path) -> Path:
    return folder / f".seen-{JOB}.json"


def reopened(folder: Path) -> tuple[int, Checkpoint]:
    with PartFile(folder, JOB) as part:
        return part.size, part.checkpoint


def content(part: PartFile) -> bytes:
    return part.path.read_bytes()


def test_bytes_are_written_where_they_belong(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "deep"
    with PartFile(folder, JOB) as part:
        assert part.write_at([b"wor", b"ld"], 6) == 5
        assert part.write_at([b"hello "], 0) == 6
        assert part.write_at([], 3) == 0
        assert part.size == 11
        assert part.path == folder / f".seen-{JOB}.part"
        buffer = memoryview(bytearray(5))
        assert part.read_at(buffer, 6) == 5
        assert bytes(buffer) == b"world"
        assert part.read_at(buffer, 9) == 2
        assert part.read_at(buffer, 11) == 0
    assert content(part) == b"hello world"


def test_room_is_set_aside_and_what_is_beyond_the_end_cut_off(tmp_path: Path) -> None:
    with PartFile(tmp_path, JOB) as part:
        part.allocate(0)
        assert part.size == 0
        part.allocate(3_000_000)
        part.write_at([b"abc"], 0)
        # A file system that cannot set room aside does nothing.
        assert part.size in {3, 3_000_000}
        part.truncate(3)
    assert content(part) == b"abc"


def test_a_part_file_is_private_until_it_is_published(tmp_path: Path) -> None:
    with PartFile(tmp_path, JOB) as part:
        assert part.path.stat().st_mode & 0o777 == 0o600


def test_a_checkpoint_is_found_again(tmp_path: Path) -> None:
    with PartFile(tmp_path, JOB) as part:
        part.write_at([b"0123456789"], 0)
        expected = described((0, 4), (6, 9))
        part.write_checkpoint(expected)
        assert part.checkpoint == expected
        assert expected.durable == 7
    assert reopened(tmp_path) == (10, expected)


def test_a_later_checkpoint_replaces_the_one_before(tmp_path: Path) -> None:
    with PartFile(tmp_path, JOB) as part:
        for size in (3, 6, 9):
            part.write_at([b"abc"], size - 3)
            part.write_checkpoint(described((0, size), total=None))
    assert reopened(tmp_path)[1].durable == 9
    assert [path.name for path in tmp_path.glob(".seen-*.tmp")] == []


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b'{"written": [[0, 5]], "tot',
        b"\xff\xfe",
        b"[]",
        b"null",
        b"5",
        b"{}",
        b'{"written": [["0", "5"]]}',
        b'{"written": [[0, 5.5]]}',
        b'{"written": [[0, true]]}',
        b'{"written": [[0]]}',
        b'{"written": [[0, 5, 6]]}',
        b'{"written": [[-1, 5]]}',
        b'{"written": null}',
        b'{"written": [[5, 5]]}',
        b'{"written": [[5, 4]]}',
        b'{"written": [[0, 5], [4, 6]]}',
        b'{"written": [[6, 8], [0, 5]]}',
        b'{"written": [[0, 5]], "total": "10"}',
        b'{"written": [[0, 5]], "total": 4}',
        b'{"written": [[0, 5]], "etag": 7}',
        b'{"written": [[0, 11]]}',
        b'{"written": [[0, 99999999999999999999999]]}',
    ],
)
def test_a_checkpoint_that_cannot_be_true_vouches_for_nothing(tmp_path: Path, text: bytes) -> None:
    with PartFile(tmp_path, JOB) as part:
        part.write_at([b"0123456789"], 0)
    checkpoint_path(tmp_path).write_bytes(text)
    assert reopened(tmp_path) == (10, Checkpoint())


FORGED = {
    "path for a name": {"name": "../film.mkv"},
    "working name": {"name": f".seen-{JOB}.part"},
    "name with a control": {"name": "a\nb"},
    "two header lines": {"validator": '"a"\r\nHost: other'},
    "two header lines, by date": {"date": "Wed\r\nHost: other"},
    "total of no file": {"total": 10**30},
    "unknown digest": {"digests": ["sha0:00"]},
    "digest that is none": {"digests": ["md5:xyz"]},
}


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED)
def test_checkpoint_that_another_program_wrote_vouches_for_nothing(
    tmp_path: Path, forged: dict[str, object]
) -> None:
    with PartFile(tmp_path, JOB) as part:
        part.write_at([b"0123456789"], 0)
        part.write_checkpoint(described((0, 10)))
    assert reopened(tmp_path)[1].durable == 10
    checkpoint = json.loads(checkpoint_path(tmp_path).read_text())
    checkpoint_path(tmp_path).write_text(json.dumps({**checkpoint, **forged}))
    assert reopened(tmp_path) == (10, Checkpoint())


def test_a_checkpoint_of_a_newer_version_is_read_as_far_as_it_is_known(tmp_path: Path) -> None:
    with PartFile(tmp_path, JOB) as part:
        part.write_at([b"0123456789"], 0)
    checkpoint_path(tmp_path).write_text('{"written": [[0, 5]], "colour": "blue"}')
    assert reopened(tmp_path)[1] == Checkpoint(written=((0, 5),))


def test_a_checkpoint_never_outlives_the_bytes_it_vouches_for(tmp_path: Path) -> None:
    with PartFile(tmp_path, JOB) as part:
        part.write_at([b"0123456789"], 0)
        part.write_checkpoint(described((0, 10)))
        part.discard()
        assert (part.size, part.checkpoint) == (0, Checkpoint())
        assert not checkpoint_path(tmp_path).exists()
        part.write_at([b"x" * 10], 0)
    assert reopened(tmp_path) == (10, Checkpoint())


def test_a_checkpoint_never_vouches_for_a_part_file_that_came_after_it(tmp_path: Path) -> None:
    """Given a part file that was removed, and a crash before the new one has a checkpoint."""
    with PartFile(tmp_path, JOB) as part:
        part.write_at([b"0123456789"], 0)
        part.write_checkpoint(described((0, 10)))
        part.path.unlink()
    with PartFile(tmp_path, JOB) as part:
        assert part.checkpoint == Checkpoint()
        assert not checkpoint_path(tmp_path).exists()
        part.allocate(10)  # what makes its size fit
        part.write_at([b"x"], 9)
    assert reopened(tmp_path) == (10, Checkpoint())


def test_who_cannot_open_a_part_file_lets_go_of_it(tmp_path: Path) -> None:
    checkpoint_path(tmp_path).mkdir()
    for _ in range(2):
        with pytest.raises(PermanentError) as caught:
            PartFile(tmp_path, JOB)
        assert caught.value.code == "foreign_file"
    checkpoint_path(tmp_path).rmdir()
    assert reopened(tmp_path) == (0, Checkpoint())


@pytest.mark.parametrize("name", ["fdatasync", "fsync"])
def test_what_a_disk_refused_once_is_not_vouched_for_when_it_says_yes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The system forgets what it could not write, and its next answer is yes."""
    tell: dict[str, Callable[[PartFile], object]] = {
        "fdatasync": lambda part: part.write_checkpoint(described((0, 10))),
        "fsync": lambda part: part.publish("a", overwrite=False),
    }
    with PartFile(tmp_path, JOB) as part:
        part.write_at([b"01234"], 0)
        part.write_checkpoint(described((0, 5)))
        part.write_at([b"56789"], 5)

        def refused(_file: int) -> None:
            raise OSError(errno.EIO, "Input/output error")

        with monkeypatch.context() as broken:
            broken.setattr(os, name, refused)
            with pytest.raises(DiskUnavailableError, match="could not be synced"):
                tell[name](part)
        with pytest.raises(TransientError, match="did not save all bytes") as caught:
            part.write_checkpoint(described((0, 10)))
        assert caught.value.code == "disk_error"
        with pytest.raises(TransientError, match="did not save all bytes"):
            part.publish("a", overwrite=False)
    with PartFile(tmp_path, JOB) as part:
        assert part.checkpoint == described((0, 5))
        part.write_at([b"56789"], 5)
        part.write_checkpoint(described((0, 10)))
    assert reopened(tmp_path) == (10, described((0, 10)))


def test_forgetting_removes_every_working_name(tmp_path: Path) -> None:
    other = tmp_path / f".seen-{JOB[:-1]}8.part"
    other.write_bytes(b"somebody else's")
    with PartFile(tmp_path, JOB) as part:
        part.write_at([b"x"], 0)
        part.write_checkpoint(described((0, 1)))
        # What a crash at the wrong moment leaves behind.
        (tmp_path / f".seen-{JOB}.tmp").write_text("torn")
        (tmp_path / f".seen-{JOB}.new").hardlink_to(part.path)
        part.remove_working_files()
        part.remove_working_files()
    assert list(tmp_path.iterdir()) == [other]


def test_a_published_file_leaves_no_working_file_of_the_part_file_it_replaced(
    tmp_path: Path,
) -> None:
    """Given a crash while a checkpoint was written, and a part file with another name."""
    with PartFile(tmp_path, JOB) as part:
        (tmp_path / f".seen-{JOB}.tmp").write_text("torn")
        (tmp_path / "mine").hardlink_to(part.path)
    with PartFile(tmp_path, JOB) as part:
        part.write_at([b"x"], 0)
        part.publish("film.mkv", overwrite=False, digests=["sha256:" + "0" * 64])
        part.remove_working_files()
    assert {path.name for path in tmp_path.iterdir()} == {"film.mkv", "mine"}


def test_a_closed_file_can_be_closed_again(tmp_path: Path) -> None:
    part = PartFile(tmp_path, JOB)
    part.close()
    part.close()


# ── two at once ─────────────────────────────────────────────────────────────────────────────────


def test_a_second_opener_is_refused_while_the_first_writes(tmp_path: Path) -> None:
    with PartFile(tmp_path, JOB) as part:
        with pytest.raises(TransientError, match="still writing") as caught:
            PartFile(tmp_path, JOB)
        assert caught.value.code == "part_file_busy"
        part.write_at([b"mine"], 0)
    assert reopened(tmp_path)[0] == 4


HOLDER = """
import sys
from pathlib import Path
from worker.storage.disk_space import DiskSpace
from worker.storage.local_destinations import LocalDestinations
from worker.storage.part_file import PartFile
part = PartFile(Path(sys.argv[1]), sys.argv[2])
part.write_at([b"half"], 0)
print("open", flush=True)
sys.stdin.read()
"""


def test_a_file_of_another_process_is_free_once_that_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path), JOB]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"open\n"
        with pytest.raises(TransientError, match="still writing"):
            PartFile(tmp_path, JOB)
        holder.kill()
        holder.wait()
    assert reopened(tmp_path)[0] == 4


# ── a disk that refuses ─────────────────────────────────────────────────────────────────────────

SMALL_FILES = """
import json, resource, sys
from pathlib import Path
from domain.errors import PermanentError
from worker.storage.disk_space import DiskSpace
from worker.storage.local_destinations import LocalDestinations
from worker.storage.part_file import PartFile
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
part = PartFile(Path(sys.argv[1]), sys.argv[2])
try:
    for number in range(9):
        part.write_at([b"x" * 100] * 3, number * 300)
except PermanentError as error:
    print(json.dumps([part.size, error.code, str(error)]))
"""


def test_file_that_the_file_system_has_no_room_for_by_its_size_is_not_waited_for(
    tmp_path: Path,
) -> None:
    command = [sys.executable, "-c", SMALL_FILES, str(tmp_path), JOB]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    size, code, message = json.loads(done.stdout)
    assert (size, code) == (1000, "too_large")
    assert "too large for this file system" in message


@pytest.mark.parametrize(
    "use",
    [
        lambda folder: PartFile(folder / "file" / "x", JOB),
        lambda folder: PartFile(folder / ("x" * 300), JOB),
    ],
)
def test_a_path_that_cannot_be_is_no_reason_to_try_again(
    tmp_path: Path, use: Callable[[Path], PartFile]
) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(PermanentError) as caught:
        use(tmp_path)
    assert caught.value.code == "bad_path"


def test_a_closed_file_refuses_in_our_words(tmp_path: Path) -> None:
    part = PartFile(tmp_path, JOB)
    part.close()
    uses: list[Callable[[], object]] = [
        lambda: part.write_at([b"x"], 0),
        lambda: part.truncate(0),
        lambda: part.allocate(10),
        part.discard,
        lambda: part.size,
        part.find_published,
    ]
    for use in uses:
        with pytest.raises(TransientError) as caught:
            use()
        assert caught.value.code == "disk_error"


def test_folder_at_a_working_name_is_not_removed(tmp_path: Path) -> None:
    with PartFile(tmp_path, JOB) as part:
        part.path.unlink()
        part.path.mkdir()
        with pytest.raises(PermanentError, match="is a folder"):
            part.remove_working_files()


def test_folder_that_cannot_be_looked_into_is_not_taken_for_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or bytes that are there would be given up while a disk is in trouble."""
    PartFile(tmp_path, JOB).close()
    exists = LocalDestinations(tmp_path, DiskSpace(0)).exists
    assert exists(tmp_path, JOB)
    assert not exists(tmp_path / "missing", JOB)

    def refused(*_arguments: object, **_options: object) -> os.stat_result:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as broken:
        broken.setattr(os, "lstat", refused)
        broken.setattr(os, "stat", refused)
        with pytest.raises(DiskUnavailableError):
            exists(tmp_path, JOB)
