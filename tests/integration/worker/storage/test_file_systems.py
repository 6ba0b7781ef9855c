"""Downloads on file systems that cannot do everything (shares, FAT, NFS without locks), or fail."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from domain.job import Job, JobStatus
from tests.support.faults.refusing_disk import RefusingDisk
from tests.support.origins.origin import Origin, ServedFile
from tests.support.processes.one_download import run_apart
from tests.support.services.system import System
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until
from worker.cleanup.sweeper import FINISH_GRACE

S = JobStatus
HERE = "/downloads"
COURTESIES = "setxattr syncdir fchmod fallocate utime"


def refused(calls: str, *names: str) -> list[str]:
    """Rules by which each of `calls` is refused in the download folder; one list for each errno."""
    return [
        "\n".join(f"{call} {getattr(errno, name)} {HERE}" for call in calls.split())
        for name in names
    ]


#: What is refused, with which errnos: the download completes all the same, once.
PASSED_OVER: dict[str, list[str]] = {
    "mode": refused("fchmod", "EPERM"),
    "preallocation": refused("fallocate", "ENOSYS"),
    "times": refused("utime", "EINVAL"),
    "sync of the folder": refused("syncdir", "EINVAL", "EIO"),
    "free space": refused("statvfs", "EPERM", "EINVAL", "ENOSYS", "ENOTSUP"),
    "change of size": refused("ftruncate", "EINVAL", "ENOSYS"),
    "sync of files": refused("fsync fdatasync", "EINVAL", "ENOSYS", "ENOTSUP"),
    "every sync and links": refused("fsync fdatasync syncdir link", "EINVAL"),
    "attributes": refused("setxattr", "ENOTSUP", "EPERM", "EIO"),
    "hard links": refused("link", "EPERM", "ENOTSUP"),
    "renames": refused("rename", "EINVAL"),
    "links, sync of the folder": refused("link syncdir", "EINVAL"),
    "every courtesy and links": refused(f"link {COURTESIES}", "EPERM", "ENOSYS"),
    "every courtesy and renames": refused(f"rename {COURTESIES}", "ENOTSUP"),
}
#: What safety needs: said at once, before the origin is asked.
NEEDED: dict[str, list[str]] = {
    "locks": refused("flock", "ENOSYS", "ENOLCK"),
    "links and renames": refused("link rename", "EPERM"),
}


@pytest.fixture
def disk(tmp_path: Path) -> RefusingDisk:
    return RefusingDisk(tmp_path)


@pytest.fixture
def system(tmp_path: Path, store: StoreServer) -> Iterator[System]:
    with System(tmp_path, store) as system:
        system.downloads.mkdir()
        yield system


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def check_one_right_file(system: System, job: Job, file: ServedFile) -> None:
    row = system.job(job)
    assert (row.status, row.attempts) == (S.COMPLETED, 1), row.reason
    assert row.path is not None
    assert hashlib.sha256(Path(row.path).read_bytes()).hexdigest() == file.sha256
    assert names_in(system.downloads) == [Path(row.path).name]


def rows(table: dict[str, list[str]]) -> list[object]:
    return [
        pytest.param(rules, id=f"{what} {rules.split()[1]}")
        for what, lines in table.items()
        for rules in lines
    ]


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("rules", rows(PASSED_OVER))
def test_download_completes_once_where_a_courtesy_is_refused(
    system: System, origin: Origin, disk: RefusingDisk, rules: str, overwrite: bool
) -> None:
    file = origin.serve("/a.bin", size=30_000)
    job = system.submit(file.url, overwrite=overwrite)
    if overwrite:
        (system.downloads / "a.bin").write_bytes(b"old")
    disk.refuse(rules)
    assert run_apart(system, job, disk) == "completed"
    check_one_right_file(system, job, file)
    assert system.job(job).path == str(system.downloads / "a.bin")


@pytest.mark.parametrize("rules", rows(NEEDED))
def test_folder_without_what_safety_needs_is_refused_before_the_first_byte(
    system: System, origin: Origin, disk: RefusingDisk, rules: str
) -> None:
    job = system.submit(origin.serve("/a.bin", size=30_000).url)
    disk.refuse(rules)
    assert run_apart(system, job, disk) == "failed"
    row = system.job(job)
    assert (row.error_code, row.attempts) == ("unsuitable_folder", 1)
    assert str(system.downloads) in (row.reason or "")
    assert "-o" in (row.reason or "")
    assert origin.requests == []
    assert names_in(system.downloads) == []


@pytest.mark.parametrize(
    ("name", "without_links"), [("EINVAL", False), ("ENAMETOOLONG", True), ("EPERM", True)]
)
def test_name_that_the_file_system_refuses_is_replaced_once(
    system: System, origin: Origin, disk: RefusingDisk, name: str, without_links: bool
) -> None:
    file = origin.serve("/a.bin", size=30_000)
    job = system.submit(file.url, name="film: one?.mkv")
    number = getattr(errno, name)
    rules = [f"{call} {number} film:" for call in ("link", "open", "rename")]
    disk.refuse(*rules, *([f"link {errno.EPERM} {HERE}"] if without_links else []))
    assert run_apart(system, job, disk) == "completed"
    check_one_right_file(system, job, file)
    assert system.job(job).path == str(system.downloads / "film_ one_.mkv")
    lines = [
        e.reason
        for e in system.runtime.jobs.events(job.id)
        if "its file system refuses" in (e.reason or "")
    ]
    assert len(lines) == 1
    assert len(origin.requests) == 1


def test_job_whose_every_name_is_refused_fails_at_once(
    system: System, origin: Origin, disk: RefusingDisk
) -> None:
    job = system.submit(origin.serve("/a.bin", size=30_000).url, name="film.mkv")
    disk.refuse(*[f"{call} {errno.EINVAL} .mkv" for call in ("link", "open", "rename")])
    assert run_apart(system, job, disk) == "failed"
    row = system.job(job)
    assert (row.error_code, row.attempts) == ("bad_name", 1)
    assert "--name" in (row.reason or "")
    assert names_in(system.downloads) == []


@pytest.mark.parametrize("folder", ["/proc/x", "/dev/null/x"])
def test_folder_that_cannot_be_made_fails_at_once(
    tmp_path: Path, store: StoreServer, origin: Origin, disk: RefusingDisk, folder: str
) -> None:
    with System(tmp_path, store, settings={"SEEN_ALLOW_ANY_DIRECTORY": "true"}) as system:
        job = system.submit(origin.serve("/a.bin", size=1000).url, directory=folder)
        assert run_apart(system, job, disk) == "failed"
        assert (system.job(job).error_code, system.job(job).attempts) == ("bad_path", 1)
        assert folder.split("/x")[0] in (system.job(job).reason or "")
    assert origin.requests == []


# ── a folder that cannot be used for a while ────────────────────────────────────────────────────

UNAVAILABLE = ("EROFS", "EIO", "ESTALE", "EACCES", "EPERM")


@pytest.mark.parametrize("name", UNAVAILABLE)
def test_job_waits_for_a_folder_without_using_an_attempt_and_keeps_its_bytes(
    system: System, origin: Origin, disk: RefusingDisk, name: str
) -> None:
    file = origin.serve("/a.bin", size=300_000, truncate_after=100_000, faults=1)
    job = system.submit(file.url)
    assert run_apart(system, job, disk) == "waiting"
    before = system.job(job)
    assert (before.bytes_durable, before.attempts) == (100_000, 1)

    calls = "open mkdir link rename unlink pwrite fsync fdatasync ftruncate"
    disk.refuse(*refused(calls, name))
    requeue_due(system)
    assert run_apart(system, job, disk) == "waiting"
    row = system.job(job)
    assert (row.error_code, row.attempts, row.bytes_durable) == ("disk_unavailable", 1, 100_000)
    assert str(system.downloads) in (row.reason or "")

    disk.recover()
    requeue_due(system)
    assert run_apart(system, job, disk) == "completed"
    assert system.job(job).sha256 == file.sha256
    assert system.job(job).attempts == 2
    assert origin.requests_for("/a.bin")[-1].range is not None


def requeue_due(system: System) -> None:
    """Let the waiting job's time come."""
    wait_until(lambda: system.runtime.jobs.requeue_due(system.runtime.now()), what="the job is due")


def test_thirty_jobs_outlast_a_read_only_folder(
    system: System, origin: Origin, disk: RefusingDisk
) -> None:
    """Every step is refused while jobs wait, run and publish; none is lost, and none uses an attempt."""
    system.environment |= disk.environment
    system.start_all()
    files = [
        origin.serve(f"/{number}.bin", size=60_000, bytes_per_second=120_000)
        for number in range(30)
    ]
    jobs = [system.submit(file.url) for file in files]
    wait_until(lambda: any(system.job(job).status is S.COMPLETED for job in jobs), deadline=30)
    calls = "open mkdir link rename unlink pwrite fsync fdatasync ftruncate"
    disk.refuse(*refused(calls, "EROFS"))
    wait_until(
        lambda: sum(system.job(job).error_code == "disk_unavailable" for job in jobs) >= 4,
        deadline=30,
        what="jobs wait for the folder",
    )
    disk.recover()
    for job, file in zip(jobs, files, strict=True):
        done = system.wait_for(job, S.COMPLETED, deadline=90)
        assert (done.sha256, done.attempts) == (file.sha256, 1)
    # Working names go after SQL knows of the end; what the folder refused to remove, the sweep removes.
    published = sorted(f"{number}.bin" for number in range(30))
    wait_until(
        lambda: names_in(system.downloads) == published,
        deadline=FINISH_GRACE + 20,
        what="only the published files are left",
    )
