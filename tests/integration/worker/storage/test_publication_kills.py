"""A worker is killed at each step of publishing: what remains is one right file under one name."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import update

import tasks
from database.models import jobs as table
from domain.job import Job, JobStatus
from tests.support.faults.refusing_disk import RefusingDisk
from tests.support.origins.origin import Origin, ServedFile
from tests.support.processes.one_download import run_apart
from tests.support.services.running import run_download
from tests.support.services.system import System
from tests.support.stores.server import StoreServer
from worker.outcome import Outcome
from worker.storage.part_file import PartFile

S = JobStatus
NO_LINKS = f"link {errno.EPERM} /downloads/"
NO_ATTRIBUTES = f"setxattr {errno.EOPNOTSUPP} /downloads/"

#: When the process is killed, in the calls that publishing makes.
STEPS = {
    "before the file is synced": "fsync kill .part",
    "before the record": "setxattr kill .part",
    "after the record": "setxattr killafter .part",
    "before the link": "link kill a.bin",
    "after the link": "link killafter a.bin",
    "before the folder is synced": "syncdir kill /downloads",
    "after the folder is synced": "syncdir killafter /downloads",
    "before the clean-up": "removexattr kill .part",
    "during the clean-up": "unlink kill .part",
    "after the clean-up": "unlink killafter .part",
}
STEPS_WITH_A_FILE = {
    "before the record": "open kill .publish",
    "before the link": "link kill a.bin",
    "after the link": "link killafter a.bin",
    "before the clean-up": "unlink kill .publish",
    "during the clean-up": "unlink kill .part",
}
STEPS_BY_RENAME = {
    "before the record": "setxattr kill .part",
    "before the record of the claim": "open kill .publish",
    "before the claim": "open kill a.bin",
    "before the rename": "rename kill a.bin",
    "after the rename": "rename killafter a.bin",
    "before the folder is synced": "syncdir kill /downloads",
    "before the clean-up": "unlink kill .publish",
}
STEPS_BY_REPLACING = {
    "before the record": "setxattr kill .part",
    "before the second link": "link kill .new 1",
    "before the rename": "rename kill a.bin",
    "after the rename": "rename killafter a.bin",
    "before the clean-up": "removexattr kill .part",
}
MATRIX = [
    *[(step, rule, False, []) for step, rule in STEPS.items()],
    *[
        (f"without attributes, {step}", rule, False, [NO_ATTRIBUTES])
        for step, rule in STEPS_WITH_A_FILE.items()
    ],
    *[(f"by rename, {step}", rule, False, [NO_LINKS]) for step, rule in STEPS_BY_RENAME.items()],
    *[(f"replacing, {step}", rule, True, []) for step, rule in STEPS_BY_REPLACING.items()],
    *[
        (f"replacing by rename, {step}", STEPS_BY_RENAME[step], True, [NO_LINKS])
        for step in ("before the rename", "after the rename", "before the clean-up")
    ],
]


@pytest.fixture
def disk(tmp_path: Path) -> RefusingDisk:
    return RefusingDisk(tmp_path)


@pytest.fixture
def system(tmp_path: Path, store: StoreServer) -> Iterator[System]:
    with System(tmp_path, store) as system:
        yield system


def hand_on(system: System, job: Job) -> None:
    """Do what recovery does with the job of a killed worker: its lock has expired, it is queued."""
    with system.store.client() as client:
        client.delete(f"seen:lock:download:{job.id}")
    running = {S.DOWNLOADING.value, S.VERIFYING.value}
    with system.runtime.database.write() as connection:
        connection.execute(
            update(table)
            .where(table.c.id == job.id, table.c.status.in_(running))
            .values(status=S.QUEUED.value)
        )


def check_one_right_file(system: System, job: Job, file: ServedFile, *others: str) -> None:
    row = system.job(job)
    assert (row.status, row.sha256) == (S.COMPLETED, file.sha256)
    assert row.path is not None
    assert hashlib.sha256(Path(row.path).read_bytes()).hexdigest() == file.sha256
    names = sorted(path.name for path in system.downloads.iterdir())
    assert names == sorted([*others, Path(row.path).name])


@pytest.mark.parametrize(
    ("rule", "overwrite", "refusals"),
    [pytest.param(*rest, id=step) for step, *rest in MATRIX],
)
def test_kill_at_any_step_of_publishing_leaves_one_right_file(
    system: System,
    origin: Origin,
    disk: RefusingDisk,
    rule: str,
    overwrite: bool,
    refusals: list[str],
) -> None:
    file = origin.serve("/a.bin", size=30_000)
    system.downloads.mkdir()
    if overwrite:
        (system.downloads / "a.bin").write_bytes(b"old")
    job = system.submit(file.url, checksum=f"sha256:{file.sha256}", overwrite=overwrite)
    disk.refuse(*refusals, rule)
    assert run_apart(system, job, disk) == "killed"

    hand_on(system, job)
    disk.refuse(*refusals)
    again = run_apart(system, job, disk) if refusals else run_download(system.runtime, job.id)

    assert again in {Outcome.COMPLETED.value, Outcome.NOT_QUEUED.value}
    check_one_right_file(system, job, file)
    assert Path(system.job(job).path or "").name == "a.bin"
    assert os.listxattr(system.downloads / "a.bin") == [], "the record is gone"


def test_link_that_a_person_made_to_a_resting_part_file_is_no_publication(
    system: System, origin: Origin
) -> None:
    """Pause, `ln .seen-<id>.part backup`, resume."""
    file = origin.serve("/a.bin", size=300_000, truncate_after=100_000, faults=1)
    job = system.submit(file.url, checksum=f"sha256:{file.sha256}")
    assert run_download(system.runtime, job.id) is Outcome.WAITING
    tasks.pause(job.id, runtime=system.runtime)
    part = system.downloads / f".seen-{job.id}.part"
    backup = system.downloads / "backup"
    backup.hardlink_to(part)
    before = backup.read_bytes()

    tasks.resume(job.id, runtime=system.runtime)
    assert run_download(system.runtime, job.id) is Outcome.COMPLETED

    check_one_right_file(system, job, file, "backup")
    assert backup.read_bytes() == before
    history = [event.reason or "" for event in system.runtime.jobs.events(job.id)]
    assert any("hard link" in reason for reason in history)


@pytest.mark.parametrize("complete", [False, True])
def test_link_that_a_person_made_with_a_record_of_other_bytes_is_no_publication(
    system: System, origin: Origin, complete: bool
) -> None:
    """The record speaks of bytes that the file no longer has: digests decide."""
    file = origin.serve("/a.bin", size=30_000)
    job = system.submit(file.url, checksum=f"sha256:{file.sha256}")
    wrong = b"x" * 30_000
    with PartFile(system.downloads, job.id) as part:
        part.write_at([wrong], 0)
        digest = hashlib.sha256(wrong).hexdigest() if complete else file.sha256
        part.publish("a.bin", overwrite=False, digests=[f"sha256:{digest}"])

    assert run_download(system.runtime, job.id) is Outcome.COMPLETED

    check_one_right_file(system, job, file, "a.bin")
    assert (system.downloads / "a.bin").read_bytes() == wrong


def test_record_without_digest_is_no_proof_of_a_publication(system: System, origin: Origin) -> None:
    """Given a person's link to a part file as long as its file, and a record that names no bytes."""
    file = origin.serve("/a.bin", size=30_000)
    job = system.submit(file.url)
    with PartFile(system.downloads, job.id) as part:
        part.write_at([b"x" * 30_000], 0)
        part.publish("a.bin", overwrite=False)

    assert run_download(system.runtime, job.id) is Outcome.COMPLETED

    check_one_right_file(system, job, file, "a.bin")


def test_link_to_a_part_file_stays_when_its_job_is_cancelled(
    system: System, origin: Origin
) -> None:
    file = origin.serve("/a.bin", size=300_000, truncate_after=100_000, faults=1)
    job = system.submit(file.url)
    assert run_download(system.runtime, job.id) is Outcome.WAITING
    backup = system.downloads / "backup"
    backup.hardlink_to(system.downloads / f".seen-{job.id}.part")

    tasks.cancel(job.id, runtime=system.runtime)
    assert run_download(system.runtime, job.id) is Outcome.NOT_QUEUED

    assert [path.name for path in system.downloads.iterdir()] == ["backup"]
