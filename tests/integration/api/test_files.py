"""The file of a completed download: ranges, validators, names, and what is not given."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import pytest
from sqlalchemy import update

from api.routes.files import disposition
from database.models import jobs
from domain.ids import new_job_id
from domain.job import Job, JobStatus
from tasks.api import published_file
from tasks.api.verified_files import MOST_AT_ONCE, FileBusyError, VerifiedFiles
from tests.support.services.http_api import HttpApi
from tests.support.wait import wait_until

CONTENT = bytes(range(256)) * 4
SHA256 = hashlib.sha256(CONTENT).hexdigest()
ETAG = f'"{SHA256}"'


def _completed(api: HttpApi, name: str = "", *, path: Path | None = None) -> tuple[Job, Path]:
    """Return a job that is completed, and its file in the download folder."""
    runtime = api.system.runtime
    job = api.job_of("ada", new_job_id())
    path = path or runtime.files_dir / job.id / (name or "a.bin")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(CONTENT)
    now = runtime.now() + timedelta(seconds=1)
    values = {
        "status": JobStatus.COMPLETED.value,
        "path": str(path),
        "sha256": SHA256,
        "bytes_total": len(CONTENT),
        "finished_at": now,
    }
    with runtime.database.write() as connection:
        connection.execute(update(jobs).where(jobs.c.id == job.id).values(values))
    return replace(job, status=JobStatus.COMPLETED), path


@pytest.fixture(scope="module")
def url(api: HttpApi) -> str:
    return f"/v1/downloads/{_completed(api)[0].id}/file"


class Ranged(NamedTuple):
    """Headers of a request, and the status and the bytes of its answer."""

    headers: dict[str, str]
    status: int
    part: slice | None = None


RANGES = {
    "none": Ranged({}, 200, slice(None)),
    "from the start": Ranged({"Range": "bytes=0-9"}, 206, slice(0, 10)),
    "in the middle": Ranged({"Range": "bytes=10-19"}, 206, slice(10, 20)),
    "to the end": Ranged({"Range": "bytes=1000-"}, 206, slice(1000, None)),
    "beyond the end": Ranged({"Range": "bytes=1000-99999"}, 206, slice(1000, None)),
    "the last bytes": Ranged({"Range": "bytes=-5"}, 206, slice(-5, None)),
    "more than all": Ranged({"Range": "bytes=-99999"}, 206, slice(None)),
    "behind the end": Ranged({"Range": "bytes=1024-"}, 416),
    "the last no bytes": Ranged({"Range": "bytes=-0"}, 416),
    "several": Ranged({"Range": "bytes=0-1,4-5"}, 200, slice(None)),
    "backwards": Ranged({"Range": "bytes=9-0"}, 200, slice(None)),
    "another unit": Ranged({"Range": "lines=0-9"}, 200, slice(None)),
    "no numbers": Ranged({"Range": "bytes=a-b"}, 200, slice(None)),
    "a huge number": Ranged({"Range": "bytes=0-" + "9" * 30}, 200, slice(None)),
    "of the same content": Ranged({"Range": "bytes=0-9", "If-Range": ETAG}, 206, slice(0, 10)),
    "of another content": Ranged({"Range": "bytes=0-9", "If-Range": '"x"'}, 200, slice(None)),
    "of a weak validator": Ranged(
        {"Range": "bytes=0-9", "If-Range": f"W/{ETAG}"}, 200, slice(None)
    ),
    "of an old date": Ranged(
        {"Range": "bytes=0-9", "If-Range": "Thu, 01 Jan 1970 00:00:00 GMT"}, 200, slice(None)
    ),
    "of no date": Ranged({"Range": "bytes=0-9", "If-Range": "yesterday"}, 200, slice(None)),
    "the same content": Ranged({"If-None-Match": ETAG}, 304),
    "one of several contents": Ranged({"If-None-Match": f'"x", W/{ETAG}'}, 304),
    "any content": Ranged({"If-None-Match": "*"}, 304),
    "other content": Ranged({"If-None-Match": '"x"'}, 200, slice(None)),
    "not modified": Ranged({"If-Modified-Since": "Fri, 01 Jan 2100 00:00:00 GMT"}, 304),
    "modified": Ranged({"If-Modified-Since": "Thu, 01 Jan 1970 00:00:00 GMT"}, 200, slice(None)),
}


@pytest.mark.parametrize("name", RANGES)
def test_ranges_and_validators(api: HttpApi, url: str, name: str) -> None:
    ranged = RANGES[name]
    answer = api.client("ada").get(url, headers=ranged.headers)
    assert answer.status_code == ranged.status, answer.text
    if ranged.part is not None:
        assert answer.content == CONTENT[ranged.part]
        assert answer.headers["content-length"] == str(len(answer.content))
    if ranged.status == 206 and ranged.part is not None:
        start, stop, _ = ranged.part.indices(len(CONTENT))
        assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/{len(CONTENT)}"
    if ranged.status == 416:
        assert answer.headers["content-range"] == f"bytes */{len(CONTENT)}"


def test_a_file_is_never_a_page_of_this_origin(api: HttpApi, url: str) -> None:
    for method in ("GET", "HEAD"):
        headers = api.client("vic").request(method, url).headers
        assert headers["content-security-policy"].startswith("sandbox")
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["content-type"] == "application/octet-stream"
        assert headers["content-disposition"].startswith("attachment;")
        assert (headers["etag"], headers["accept-ranges"]) == (ETAG, "bytes")
        assert headers["content-length"] == str(len(CONTENT))


NAMES = [
    "plain.bin",
    'quo"te.html',
    "back\\slash",
    "line\r\nX-Injected: 1",
    "semi;colon=x",
    "größe 日本.iso",
    "per%41cent",
    "tab\tand\x01control",
    "‮txt.exe",
    "emoji 🎬.mkv",
    "-rf",
    "a" * 200,
]


@pytest.mark.parametrize("name", NAMES)
def test_names_of_files_inject_nothing(api: HttpApi, name: str) -> None:
    job, _ = _completed(api, name)
    answer = api.client("ada").get(f"/v1/downloads/{job.id}/file")
    assert answer.content == CONTENT
    shown = answer.headers["content-disposition"]
    assert shown == disposition(name)
    assert "x-injected" not in answer.headers
    plain = shown.split('"')[1]
    assert (shown.count('"'), plain.isascii(), plain.isprintable()) == (2, True, True)


def test_a_name_that_is_no_text_is_given(api: HttpApi) -> None:
    assert "\udcff" not in disposition("a\udcff")
    assert disposition("a\udcff").isascii()


def _expect(api: HttpApi, job: Job, status: int, code: str) -> None:
    answer = api.client("root").get(f"/v1/downloads/{job.id}/file")
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert CONTENT not in answer.content


def test_only_the_published_file_is_given(api: HttpApi, tmp_path: Path) -> None:
    """Not another one at its place, none behind a link, none outside the download folder."""
    root = api.system.runtime.files_dir
    job, path = _completed(api)
    path.unlink()
    _expect(api, job, 410, "file_unavailable")
    path.mkdir()
    _expect(api, job, 410, "file_unavailable")
    path.rmdir()
    os.mkfifo(path)
    _expect(api, job, 410, "file_unavailable")
    path.unlink()
    path.write_bytes(CONTENT + b"more")
    _expect(api, job, 410, "file_unavailable")
    path.write_bytes(CONTENT)
    os.utime(path, (path.stat().st_atime, path.stat().st_mtime + 60))
    _expect(api, job, 410, "file_unavailable")
    outside = tmp_path / "secret.bin"
    outside.write_bytes(CONTENT)
    path.unlink()
    path.symlink_to(outside)
    _expect(api, job, 410, "file_unavailable")
    path.unlink()
    path.parent.rmdir()
    path.parent.symlink_to(tmp_path)
    (tmp_path / path.name).write_bytes(CONTENT)
    _expect(api, job, 410, "file_unavailable")
    for other in (outside, root / ".." / "x.bin", root):
        job, _ = _completed(api)
        with api.system.runtime.database.write() as connection:
            statement = update(jobs).where(jobs.c.id == job.id).values(path=str(other))
            connection.execute(statement)
        _expect(api, job, 410, "file_unavailable")


def _rewritten(path: Path) -> None:
    path.write_bytes(OTHER)


def _replaced(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(OTHER)
    other.replace(path)


def _rewritten_in_place(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(OTHER)


def _copied_over(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(OTHER)
    shutil.copystat(path, other)
    shutil.copy2(other, path)


OTHER = CONTENT[::-1]
#: What was done to the file since it was published, with its times set back; whether it is still given.
CHANGES: dict[str, tuple[Callable[[Path], object], bool]] = {
    "nothing": (lambda path: None, True),
    "rewritten": (_rewritten, False),
    "rewritten in place": (_rewritten_in_place, False),
    "replaced": (_replaced, False),
    "copied over with its times": (_copied_over, False),
    "rewritten with the same content": (lambda path: path.write_bytes(CONTENT), True),
    "another mode": (lambda path: path.chmod(0o400), True),
    "another name, and back": (
        lambda path: path.rename(path.with_name("b")).rename(path),
        True,
    ),
    "a further link": (lambda path: path.with_name("link").hardlink_to(path), True),
    "an attribute": (lambda path: os.setxattr(path, "user.note", b"x"), True),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_rewritten_file_is_not_given_with_the_old_validator(api: HttpApi, what: str) -> None:
    """Not even at once after the job has finished, and with its size and the time of its last write."""
    change, is_given = CHANGES[what]
    job, path = _completed(api)
    runtime, before = api.system.runtime, path.stat()
    with runtime.database.write() as connection:
        values = {"finished_at": runtime.now()}
        connection.execute(update(jobs).where(jobs.c.id == job.id).values(values))
    time.sleep(0.02)  # the system's clock for files has ticked
    change(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    for headers in ({}, {"If-None-Match": ETAG}, {"Range": "bytes=0-9", "If-Range": ETAG}):
        answer = api.client("ada").get(f"/v1/downloads/{job.id}/file", headers=headers)
        if is_given:
            assert answer.headers["etag"] == ETAG
            assert answer.content in (CONTENT, CONTENT[:10], b"")
        else:
            assert (answer.status_code, answer.json()["code"]) == (410, "file_unavailable")


#: By seconds after the end of the job: last change, last write, size; whether the digest is compared.
TIMES = {
    "not changed since": (-0.1, -1.0, 10, False),
    "a small file, a moment later": (0.1, -1.0, 10, True),
    "a large file, a moment later": (0.1, -1.0, 10**10, False),
    "a large file, written a moment later": (0.1, 0.1, 10**10, True),
    "a large file, long after": (60.0, -1.0, 10**10, True),
}


@pytest.mark.parametrize("what", TIMES)
def test_when_the_digest_is_compared(what: str) -> None:
    changed, written, size, is_compared = TIMES[what]
    status = os.stat_result((0, 0, 0, 0, 0, 0, size, 0, 1000 + written, 1000 + changed))
    assert published_file._may_be_rewritten(status, 1000.0) is is_compared


def test_without_a_digest_the_validator_is_another_after_a_change(api: HttpApi) -> None:
    job, path = _completed(api)
    with api.system.runtime.database.write() as connection:
        connection.execute(update(jobs).where(jobs.c.id == job.id).values(sha256=None))
    before = api.client("ada").get(f"/v1/downloads/{job.id}/file")
    times = path.stat()
    time.sleep(0.02)
    path.write_bytes(OTHER)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    after = api.client("ada").get(f"/v1/downloads/{job.id}/file")
    assert (before.content, after.content) == (CONTENT, OTHER)
    assert before.headers["etag"] != after.headers["etag"]


def test_digests_are_computed_once_and_not_for_too_many_at_once(tmp_path: Path) -> None:
    files, path = VerifiedFiles(), tmp_path / "file"
    path.write_bytes(CONTENT)
    with ThreadPoolExecutor() as pool, path.open("rb") as file:
        with files._computing:  # as while a large file is read
            waiting = [
                pool.submit(files.has_digest, file.fileno(), SHA256) for _ in range(MOST_AT_ONCE)
            ]
            wait_until(lambda: not files._room._value, deadline=30)
            with pytest.raises(FileBusyError):
                files.has_digest(file.fileno(), SHA256)
        assert all(one.result(30) for one in waiting)
        assert len(files._known) == 1
        assert not files.has_digest(file.fileno(), "0" * 64)


def test_descriptors_are_closed(api: HttpApi, url: str) -> None:
    def count() -> int:
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208

    api.client("ada").get(url)
    before = count()
    for headers in ({}, {"Range": "bytes=0-1"}, {"Range": "bytes=5000-"}, {"If-None-Match": "*"}):
        api.client("ada").get(url, headers=headers)
        api.client("ada").head(url, headers=headers)
    assert count() <= before + 2  # connections of SQLite and the store may be opened meanwhile
