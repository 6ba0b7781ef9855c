"""Publishing: one atomic step that never replaces a stranger's file unasked."""

from __future__ import annotations

import errno
import hashlib
import json
import multiprocessing
import os
import struct
from pathlib import Path

import pytest

from domain.files import MAX_NAME_BYTES
from domain.ids import new_job_id
from worker.storage.part_file import PartFile

JOB = "01890a5d-ac96-774b-bcce-b302099a8057"


def publish(folder: Path, name: str, body: bytes, *, overwrite: bool = False) -> Path:
    with PartFile(folder, new_job_id()) as part:
        part.write_at([body], 0)
        path = part.publish(name, overwrite=overwrite)
        part.remove_working_files()
    return path


def published_path(part: PartFile) -> Path | None:
    published = part.find_published()
    return published.path if published else None


def visible(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_file_gets_its_name(tmp_path: Path) -> None:
    assert publish(tmp_path, "film.mkv", b"body") == tmp_path / "film.mkv"
    assert visible(tmp_path) == {"film.mkv": b"body"}


def test_a_published_file_has_the_mode_the_umask_asks_for(tmp_path: Path) -> None:
    path = publish(tmp_path, "film.mkv", b"body")
    plain = tmp_path / "plain"
    plain.write_text("x")
    assert path.stat().st_mode == plain.stat().st_mode


def test_a_taken_name_gets_a_number(tmp_path: Path) -> None:
    names = [publish(tmp_path, "film.mkv", b"%d" % number).name for number in range(3)]
    assert names == ["film.mkv", "film (1).mkv", "film (2).mkv"]
    assert visible(tmp_path) == {"film.mkv": b"0", "film (1).mkv": b"1", "film (2).mkv": b"2"}


@pytest.mark.parametrize("taken", ["folder", "link", "dangling"])
def test_whatever_has_the_name_stays(tmp_path: Path, taken: str) -> None:
    target = tmp_path / "elsewhere"
    if taken == "folder":
        (tmp_path / "film.mkv").mkdir()
    else:
        if taken == "link":
            target.write_bytes(b"precious")
        (tmp_path / "film.mkv").symlink_to(target)
    assert publish(tmp_path, "film.mkv", b"body").name == "film (1).mkv"
    assert target.exists() == (taken == "link")
    if taken == "link":
        assert target.read_bytes() == b"precious"


def test_overwriting_replaces_the_file(tmp_path: Path) -> None:
    publish(tmp_path, "film.mkv", b"old")
    path = publish(tmp_path, "film.mkv", b"new", overwrite=True)
    assert path == tmp_path / "film.mkv"
    assert visible(tmp_path) == {"film.mkv": b"new"}


def test_overwriting_a_link_leaves_what_it_points_at(tmp_path: Path) -> None:
    target = tmp_path / "elsewhere"
    target.write_bytes(b"precious")
    (tmp_path / "film.mkv").symlink_to(target)
    publish(tmp_path, "film.mkv", b"new", overwrite=True)
    assert target.read_bytes() == b"precious"
    assert not (tmp_path / "film.mkv").is_symlink()


def test_the_longest_name_can_be_numbered(tmp_path: Path) -> None:
    name = "x" * (MAX_NAME_BYTES - 4) + ".mkv"
    assert publish(tmp_path, name, b"1").name == name
    assert publish(tmp_path, name, b"2").name == "x" * (MAX_NAME_BYTES - 4) + " (1).mkv"


# ── a crash between publishing and forgetting ───────────────────────────────────────────────────


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_successor_recognises_a_published_file(tmp_path: Path, overwrite: bool) -> None:
    with PartFile(tmp_path, JOB) as part:
        assert part.find_published() is None
        part.write_at([b"body"], 0)
        assert part.find_published() is None
        path = part.publish("film.mkv", overwrite=overwrite)
    with PartFile(tmp_path, JOB) as successor:
        assert published_path(successor) == path
        successor.remove_working_files()
    assert visible(tmp_path) == {"film.mkv": b"body"}


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_successor_takes_back_what_is_not_wanted_any_more(
    tmp_path: Path, overwrite: bool
) -> None:
    publish(tmp_path, "other.mkv", b"body")
    with PartFile(tmp_path, JOB) as part:
        part.unpublish()  # nothing to take back
        part.write_at([b"body"], 0)
        part.publish("film.mkv", overwrite=overwrite)
    with PartFile(tmp_path, JOB) as successor:
        successor.unpublish()
        assert successor.find_published() is None
        successor.remove_working_files()
    assert visible(tmp_path) == {"other.mkv": b"body"}


def test_a_published_file_that_was_renamed_is_recognised(tmp_path: Path) -> None:
    with PartFile(tmp_path, JOB) as part:
        part.write_at([b"body"], 0)
        part.publish("film.mkv", overwrite=False).rename(tmp_path / "other.mkv")
        assert published_path(part) == tmp_path / "other.mkv"


def test_a_crash_in_the_middle_of_overwriting_is_not_taken_for_the_end(tmp_path: Path) -> None:
    (tmp_path / "film.mkv").write_bytes(b"old")
    with PartFile(tmp_path, JOB) as part:
        part.write_at([b"new"], 0)
        # What `publish` leaves when it falls between its two steps.
        os.link(part.path, part.path.with_suffix(".new"))
        assert part.find_published() is None
        assert part.publish("film.mkv", overwrite=True) == tmp_path / "film.mkv"
        part.remove_working_files()
    assert visible(tmp_path) == {"film.mkv": b"new"}


NO_RECORDS = {
    "empty name": {"name": ""},
    "this folder": {"name": "."},
    "the folder above": {"name": ".."},
    "path": {"name": "../film.mkv"},
    "absolute path": {"name": "/etc/passwd"},
    "name with a NUL": {"name": "a\0b"},
    "name of no file system": {"name": "x" * 5000},
    "lone surrogate": {"name": "\ud800"},
    "working name": {"name": f".seen-{JOB}.part"},
    "unknown digest": {"digests": ["sha0:00"]},
    "digest that is none": {"digests": ["sha256:xyz"]},
    "another size": {"size": 3},
    "another file": {"inode": 1},
}


@pytest.mark.parametrize("claims", [False, True])
@pytest.mark.parametrize("forged", NO_RECORDS.values(), ids=NO_RECORDS)
def test_record_that_no_publication_wrote_is_no_proof(
    tmp_path: Path, forged: dict[str, object], claims: bool
) -> None:
    """Given a person's link to the part file, and a record that another program wrote."""
    with PartFile(tmp_path, JOB) as part:
        part.write_at([b"body"], 0)
    (tmp_path / "backup").hardlink_to(part.path)
    record = {"name": "backup", "size": 4, "inode": part.path.stat().st_ino, "claims": claims}
    part.path.with_suffix(".publish").write_text(json.dumps({**record, **forged}))
    with PartFile(tmp_path, JOB) as successor:
        assert successor.find_published() is None
        assert successor.size == 0
        successor.remove_working_files()
    assert visible(tmp_path) == {"backup": b"body"}


DIGESTS = [f"sha256:{hashlib.sha256(b'body').hexdigest()}"]
#: What `setxattr` may answer where a record cannot be kept on the file.
REFUSALS = [
    *(errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM, errno.EACCES, errno.EINVAL, errno.ENOSPC),
    *(errno.EDQUOT, errno.E2BIG, errno.ERANGE, errno.ENODATA, errno.EIO, errno.EROFS),
]


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("refusal", [None, *REFUSALS], ids=lambda one: errno.errorcode.get(one))
def test_the_record_is_an_attribute_or_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusal: int | None, overwrite: bool
) -> None:
    """Either shows a successor that the file was published, and neither remains."""

    def refuse(*_: object) -> None:
        assert refusal is not None
        raise OSError(refusal, os.strerror(refusal))

    if refusal is not None:
        monkeypatch.setattr(os, "setxattr", refuse)
    with PartFile(tmp_path, JOB) as part:
        part.write_at([b"body"], 0)
        path = part.publish("film.mkv", overwrite=overwrite, digests=DIGESTS)
        assert part.path.with_suffix(".publish").exists() == (refusal is not None)
    (tmp_path / "a person's link").hardlink_to(path)
    with PartFile(tmp_path, JOB) as successor:
        assert successor.find_published() == (path, tuple(DIGESTS))
        successor.remove_working_files()
    assert visible(tmp_path) == {"film.mkv": b"body", "a person's link": b"body"}
    assert os.listxattr(path) == []


def test_a_file_that_was_published_without_a_file_beside_it_leaves_nothing(tmp_path: Path) -> None:
    with PartFile(tmp_path, JOB) as part:
        part.write_at([b"body"], 0)
        path = part.publish("film.mkv", overwrite=False, digests=DIGESTS)
        assert os.listxattr(path) == ["user.seen"]
        part.remove_working_files()
    assert visible(tmp_path) == {"film.mkv": b"body"}
    assert os.listxattr(path) == []


def test_a_record_of_an_unfinished_publication_is_forgotten(tmp_path: Path) -> None:
    """A link that a person makes later is no publication."""
    with PartFile(tmp_path, JOB) as part:
        part.write_at([b"body"], 0)
        part.publish("film.mkv", overwrite=False, digests=DIGESTS).unlink()
    with PartFile(tmp_path, JOB) as part:
        assert part.find_published() is None
        assert os.listxattr(part.path) == []
    (tmp_path / "film.mkv").hardlink_to(part.path)
    with PartFile(tmp_path, JOB) as successor:
        assert successor.find_published() is None
        assert successor.size == 0


@pytest.mark.parametrize(
    ("taken", "name"), [(0, "film.mkv"), (1, "film (1).mkv"), (12, "film (12).mkv")]
)
def test_only_the_name_that_was_given_is_taken_back(tmp_path: Path, taken: int, name: str) -> None:
    for number in range(taken):
        publish(tmp_path, "film.mkv", b"%d" % number)
    with PartFile(tmp_path, JOB) as part:
        part.write_at([b"body"], 0)
        assert part.publish("film.mkv", overwrite=False, digests=DIGESTS).name == name
    (tmp_path / "backup").hardlink_to(part.path)
    with PartFile(tmp_path, JOB) as successor:
        successor.unpublish()
        assert published_path(successor) == tmp_path / "backup"
        successor.unpublish()
        successor.remove_working_files()
    assert b"body" in (tmp_path / "backup").read_bytes()
    assert not (tmp_path / name).exists()


FORGED_ATTRIBUTES = {
    "nothing": b"",
    "text": b"film.mkv",
    "too short": struct.pack("<BQQ8s", 1, 4, 0, b""),
    "too long": struct.pack("<BQQ8s40s", 1, 4, 0, b"", b""),
    "another version": "version",
    "another size": "size",
    "another file": "inode",
}


@pytest.mark.parametrize("forged", FORGED_ATTRIBUTES.values(), ids=FORGED_ATTRIBUTES)
def test_attribute_that_no_publication_wrote_is_no_proof(
    tmp_path: Path, forged: bytes | str
) -> None:
    """Given a person's link to the part file, and an attribute that another program wrote."""
    with PartFile(tmp_path, JOB) as part:
        part.write_at([b"body"], 0)
        part.publish("backup", overwrite=False, digests=DIGESTS)
    version, size, inode, *rest = struct.unpack("<BQQ8s32s", os.getxattr(part.path, "user.seen"))
    if isinstance(forged, str):
        wrong = {"version": version, "size": size, "inode": inode}
        wrong[forged] += 1
        forged = struct.pack("<BQQ8s32s", *wrong.values(), *rest)
    os.setxattr(part.path, "user.seen", forged)
    with PartFile(tmp_path, JOB) as successor:
        assert successor.find_published() is None
        assert successor.size == 0
        successor.remove_working_files()
    assert visible(tmp_path) == {"backup": b"body"}


# ── many at once ────────────────────────────────────────────────────────────────────────────────


def _publish_some(folder: str, who: int, count: int, results: multiprocessing.Queue[str]) -> None:
    for number in range(count):
        body = f"{who}-{number}".encode()
        results.put(f"{publish(Path(folder), 'film.mkv', body).name}={body.decode()}")


def test_processes_that_want_one_name_each_get_their_own(tmp_path: Path) -> None:
    spawning = multiprocessing.get_context("spawn")
    results: multiprocessing.Queue[str] = spawning.Queue()
    processes = [
        spawning.Process(target=_publish_some, args=(str(tmp_path), who, 25, results))
        for who in range(3)
    ]
    for process in processes:
        process.start()
    told = dict(results.get(timeout=60).split("=") for _ in range(75))
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    results.close()
    assert len(told) == 75
    assert {name: body.decode() for name, body in visible(tmp_path).items()} == told
