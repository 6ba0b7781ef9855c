"""The part file: appending, going back, and which checkpoints are believed."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from domain.errors import CancelledError, DiskFullError, PermanentError, TransientError
from worker.part_file import Checkpoint, PartFile

JOB = "01890a5d-ac96-774b-bcce-b302099a8057"
ROOT = Path(__file__).resolve().parents[2]


def synced(part: PartFile, total: int | None = 10) -> int:
    return part.sync(described(total))


def described(total: int | None = 10) -> Checkpoint:
    return Checkpoint(
        total=total, validator='"a"', etag='"a"', last_modified="Wed", name="film.mkv"
    )


def checkpoint_path(folder: Path) -> Path:
    return folder / f".seen-{JOB}.json"


def reopened(folder: Path) -> tuple[int, Checkpoint]:
    with PartFile(folder, JOB) as part:
        return part.size, part.checkpoint


def test_bytes_are_appended(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "deep"
    with PartFile(folder, JOB) as part:
        part.write(b"hello ")
        part.write(b"")
        part.write(b"world")
        assert part.size == 11
        assert part.path == folder / f".seen-{JOB}.part"
    assert part.path.read_bytes() == b"hello world"


def test_a_part_file_is_private_until_it_is_published(tmp_path: Path) -> None:
    with PartFile(tmp_path, JOB) as part:
        assert part.path.stat().st_mode & 0o777 == 0o600


def test_going_back_drops_what_lies_beyond(tmp_path: Path) -> None:
    with PartFile(tmp_path, JOB) as part:
        part.write(b"0123456789")
        part.resume_at(4)
        assert part.size == 4
        part.write(b"abc")
    assert part.path.read_bytes() == b"0123abc"


def test_a_reopened_file_goes_on_at_the_place_it_is_told(tmp_path: Path) -> None:
    with PartFile(tmp_path, JOB) as part:
        part.write(b"0123456789")
    with PartFile(tmp_path, JOB) as part:
        assert part.size == 10
        part.resume_at(5)
        part.write(b"x")
    assert part.path.read_bytes() == b"01234x"


def test_a_checkpoint_is_found_again(tmp_path: Path) -> None:
    with PartFile(tmp_path, JOB) as part:
        part.write(b"0123456")
        assert synced(part) == 7
        part.write(b"789")
        expected = replace(described(), durable=7)
        assert part.checkpoint == expected
    assert reopened(tmp_path) == (10, expected)


def test_a_later_checkpoint_replaces_the_one_before(tmp_path: Path) -> None:
    with PartFile(tmp_path, JOB) as part:
        for size in (3, 6, 9):
            part.write(b"abc")
            assert synced(part, None) == size
    assert reopened(tmp_path)[1].durable == 9
    assert [path.name for path in tmp_path.glob(".seen-*.tmp")] == []


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b'{"durable": 5, "tot',
        b"\xff\xfe",
        b"[]",
        b"null",
        b"5",
        b"{}",
        b'{"durable": "5"}',
        b'{"durable": 5.5}',
        b'{"durable": true}',
        b'{"durable": -1}',
        b'{"durable": null}',
        b'{"durable": 5, "total": "10"}',
        b'{"durable": 5, "etag": 7}',
        b'{"durable": 11}',
        b'{"durable": 99999999999999999999999}',
    ],
)
def test_a_checkpoint_that_cannot_be_true_vouches_for_nothing(tmp_path: Path, text: bytes) -> None:
    with PartFile(tmp_path, JOB) as part:
        part.write(b"0123456789")
    checkpoint_path(tmp_path).write_bytes(text)
    assert reopened(tmp_path) == (10, Checkpoint())


def test_a_checkpoint_of_a_newer_version_is_read_as_far_as_it_is_known(tmp_path: Path) -> None:
    with PartFile(tmp_path, JOB) as part:
        part.write(b"0123456789")
    checkpoint_path(tmp_path).write_text('{"durable": 5, "colour": "blue"}')
    assert reopened(tmp_path)[1] == Checkpoint(5)


def test_a_checkpoint_never_outlives_the_bytes_it_vouches_for(tmp_path: Path) -> None:
    with PartFile(tmp_path, JOB) as part:
        part.write(b"0123456789")
        synced(part)
        part.resume_at(9)
        assert part.checkpoint == Checkpoint()
        assert not checkpoint_path(tmp_path).exists()
        part.write(b"x" * 10)
    assert reopened(tmp_path) == (19, Checkpoint())


def test_a_checkpoint_stays_when_only_later_bytes_are_dropped(tmp_path: Path) -> None:
    with PartFile(tmp_path, JOB) as part:
        part.write(b"01234")
        synced(part)
        part.write(b"56789")
        part.resume_at(5)
    assert reopened(tmp_path)[1].durable == 5


@pytest.mark.parametrize("algorithm", ["md5", "sha1", "sha256", "sha512"])
def test_the_digest_is_of_the_bytes_on_disk(tmp_path: Path, algorithm: str) -> None:
    blocks: list[int] = []
    with PartFile(tmp_path, JOB) as part:
        part.write(b"x" * 2_500_000)
        digest = part.digest(algorithm, lambda: blocks.append(1))
    assert digest == hashlib.new(algorithm, b"x" * 2_500_000).hexdigest()
    assert len(blocks) == 4


def test_a_digest_can_be_stopped(tmp_path: Path) -> None:
    def stop() -> None:
        raise CancelledError("cancel requested")

    with PartFile(tmp_path, JOB) as part, pytest.raises(CancelledError):
        part.digest("sha256", stop)


def test_forgetting_removes_every_working_name(tmp_path: Path) -> None:
    other = tmp_path / f".seen-{JOB[:-1]}8.part"
    other.write_bytes(b"somebody else's")
    with PartFile(tmp_path, JOB) as part:
        part.write(b"x")
        synced(part)
        # What a crash at the wrong moment leaves behind.
        (tmp_path / f".seen-{JOB}.tmp").write_text("torn")
        (tmp_path / f".seen-{JOB}.new").hardlink_to(part.path)
        part.forget()
        part.forget()
    assert list(tmp_path.iterdir()) == [other]


def test_a_closed_file_can_be_closed_again(tmp_path: Path) -> None:
    part = PartFile(tmp_path, JOB)
    part.close()
    part.close()


# ── two at once ─────────────────────────────────────────────────────────────────────────────────


def test_a_second_opener_is_refused_while_the_first_writes(tmp_path: Path) -> None:
    with PartFile(tmp_path, JOB) as part:
        with pytest.raises(TransientError, match="still writes") as caught:
            PartFile(tmp_path, JOB)
        assert caught.value.code == "part_file_busy"
        part.write(b"mine")
    assert reopened(tmp_path)[0] == 4


HOLDER = """
import sys
from pathlib import Path
from worker.part_file import PartFile
part = PartFile(Path(sys.argv[1]), sys.argv[2])
part.write(b"half")
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
        with pytest.raises(TransientError, match="still writes"):
            PartFile(tmp_path, JOB)
        holder.kill()
        holder.wait()
    assert reopened(tmp_path)[0] == 4


# ── a disk that refuses ─────────────────────────────────────────────────────────────────────────

FULL = """
import json, resource, sys
from pathlib import Path
from domain.errors import DiskFullError
from worker.part_file import PartFile
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
part = PartFile(Path(sys.argv[1]), sys.argv[2])
try:
    for _ in range(9):
        part.write(b"x" * 300)
except DiskFullError as error:
    print(json.dumps([part.size, error.code, part.path.stat().st_size]))
"""


def test_a_disk_that_is_full_keeps_what_fitted(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FULL, str(tmp_path), JOB]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [1000, "disk_full", 1000]


def test_too_little_room_is_told_before_the_first_byte(tmp_path: Path) -> None:
    with PartFile(tmp_path, JOB) as part:
        part.check_room(1000, 0)
        with pytest.raises(DiskFullError, match="bytes are missing"):
            part.check_room(10**18, 0)
        with pytest.raises(DiskFullError, match="stay free"):
            part.check_room(0, 10**18)


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
        lambda: part.write(b"x"),
        lambda: part.resume_at(0),
        lambda: part.digest("sha256", lambda: None),
        part.published_path,
    ]
    for use in uses:
        with pytest.raises(TransientError) as caught:
            use()
        assert caught.value.code == "disk_error"
    part.path.unlink()
    part.path.mkdir()
    with pytest.raises(PermanentError, match="directory"):
        part.forget()
