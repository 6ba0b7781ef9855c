"""Files of unknown size on a small disk: they neither fill it nor wait for ever."""

from __future__ import annotations

import gzip
import shutil
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from domain.job import Job, JobStatus
from tests.support.faults.small_disk import small_disk
from tests.support.origins import misbehaviour as does
from tests.support.origins.behaviour import Fault, Plan, Request
from tests.support.origins.origin import Origin
from tests.support.services.engine import run_to_the_end
from tests.support.services.running import run_download, running
from tests.support.services.system import System
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until
from worker.outcome import Outcome
from worker.storage.part_file import PartFile

S = JobStatus
MIB = 1 << 20
DISK, KEPT_FREE = 48 * MIB, 16 * MIB
ENDLESS = 10_000_000_000

#: How bytes come without a size: behaviour of the origin, and of the job.
WAYS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "chunks": ({"chunked": True, "etag": None}, {}),
    "chunks with a validator": ({"chunked": True}, {}),
    "no length": ({"send_length": False, "etag": None}, {}),
    "no length, with a validator": ({"send_length": False}, {}),
    "HTTP/1.0": ({"respond": does.old_version(), "send_length": False, "etag": None}, {}),
    "decoded": ({"content_encoding": "gzip"}, {"decode": True}),
}
EACH = pytest.mark.parametrize(("behaviour", "fields"), WAYS.values(), ids=WAYS)


class Watch:
    """What the disk had free after each write."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.least = DISK
        write = PartFile.write_at

        def watched(part: PartFile, chunks: Any, position: int) -> int:
            size = write(part, chunks, position)
            self.least = min(self.least, shutil.disk_usage(folder).free)
            return size

        monkeypatch.setattr(PartFile, "write_at", watched)


@pytest.fixture
def full(tmp_path: Path, store: StoreServer) -> Iterator[System]:
    """A system whose downloads lie on a disk of 48 MiB, of which 16 stay free."""
    settings = {"SEEN_MIN_FREE_BYTES": str(KEPT_FREE), "SEEN_RETRY_BACKOFF_MAX": "0.5"}
    settings["SEEN_RETRY_BACKOFF"] = "0.1"
    with ExitStack() as stack:
        stack.enter_context(small_disk(tmp_path / "downloads", DISK))
        yield stack.enter_context(System(tmp_path, store, settings=settings))


@pytest.fixture
def watch(full: System, monkeypatch: pytest.MonkeyPatch) -> Watch:
    return Watch(full.downloads, monkeypatch)


def endless(origin: Origin, path: str, behaviour: dict[str, Any]) -> str:
    if "content_encoding" in behaviour:
        return origin.serve(path, body=gzip.compress(bytes(200 * MIB)), **behaviour).url
    return origin.serve(path, size=ENDLESS, **behaviour).url


def used(system: System) -> int:
    return shutil.disk_usage(system.downloads).used


def history(system: System, job: Job) -> list[str]:
    return [event.reason or "" for event in system.runtime.jobs.events(job.id)]


@EACH
def test_file_that_does_not_fit_uses_its_attempts_up_and_leaves_the_disk(
    full: System, origin: Origin, watch: Watch, behaviour: dict[str, Any], fields: dict[str, Any]
) -> None:
    job = full.submit(endless(origin, "/a.bin", behaviour), max_attempts=2, **fields)

    run_download(full.runtime, job.id)

    row = full.job(job)
    assert (row.status, row.error_code, row.attempts) == (S.WAITING, "disk_full", 1)
    assert (row.bytes_downloaded, row.bytes_durable) == (0, 0)
    assert used(full) < MIB
    assert any("discarded" in reason for reason in history(full, job))
    assert not any("are kept" in reason for reason in history(full, job))

    wait_until(lambda: full.runtime.jobs.requeue_due(full.runtime.now()), what="the job is due")
    run_download(full.runtime, job.id)

    row = full.job(job)
    assert (row.status, row.error_code, row.attempts) == (S.FAILED, "disk_full", 2)
    assert "sends no size for the file" in (row.reason or "")
    assert watch.least >= KEPT_FREE
    # It did use what there was.
    assert watch.least < KEPT_FREE + 2 * MIB
    assert used(full) < MIB
    assert full.runtime.cache.limits.cooldown("127.0.0.1") is None


@EACH
def test_file_that_just_fits_is_downloaded(
    full: System, origin: Origin, watch: Watch, behaviour: dict[str, Any], fields: dict[str, Any]
) -> None:
    size = DISK - KEPT_FREE - MIB
    if "content_encoding" in behaviour:
        url = origin.serve("/a.bin", body=gzip.compress(bytes(size)), **behaviour).url
    else:
        url = origin.serve("/a.bin", size=size, **behaviour).url

    row = run_to_the_end(full, full.submit(url, **fields))

    assert (row.status, row.attempts, row.bytes_total) == (S.COMPLETED, 1, size)
    assert watch.least >= KEPT_FREE


def test_other_jobs_go_on_when_the_one_that_filled_the_disk_rests(
    full: System, origin: Origin, watch: Watch
) -> None:
    """Two without size run at once, and one of known size finds no room; then they all get theirs."""
    gate = threading.Event()
    large = origin.serve(
        "/large.bin", size=ENDLESS, chunked=True, etag=None, gate=gate, gate_after=24 * MIB
    )
    small = origin.serve("/small.bin", size=5 * MIB, chunked=True, etag=None)
    known = origin.serve("/known.bin", size=20 * MIB)
    job = full.submit(large.url, max_attempts=5)
    with running(full, job) as outcomes:
        wait_until(lambda: used(full) > 23 * MIB, what="the first has taken its part")
        assert run_to_the_end(full, full.submit(small.url), attempts=1).status is S.COMPLETED
        waiting = full.submit(known.url, max_attempts=1)
        row = run_to_the_end(full, waiting, attempts=1)
        assert (row.status, row.error_code, row.attempts) == (S.WAITING, "disk_full", 0)
        gate.set()
    assert outcomes == [Outcome.WAITING]
    assert full.job(job).attempts == 1

    wait_until(lambda: full.runtime.jobs.requeue_due(full.runtime.now()), what="jobs are due")
    assert run_to_the_end(full, waiting, attempts=1).status is S.COMPLETED
    assert watch.least >= KEPT_FREE


def test_many_files_without_size_share_what_is_free(
    full: System, origin: Origin, watch: Watch
) -> None:
    """Eight of 8 MiB at once, for which there is not room: those that fit complete, none races."""
    files = [
        origin.serve(f"/{n}.bin", size=8 * MIB, chunked=True, etag=None, bytes_per_second=20 * MIB)
        for n in range(8)
    ]
    jobs = [full.submit(file.url) for file in files]
    with ExitStack() as stack:
        for job in jobs:
            stack.enter_context(running(full, job))
    rows = [full.job(job) for job in jobs]
    assert {(row.status, row.error_code) for row in rows} <= {
        (S.COMPLETED, None),
        (S.WAITING, "disk_full"),
    }
    assert watch.least >= KEPT_FREE
    # Nothing but complete files is left.
    assert used(full) < 8 * MIB * sum(row.status is S.COMPLETED for row in rows) + MIB


@pytest.mark.parametrize("behave", [{"truncate_after": 5 * MIB}, {"reset_after": 5 * MIB}])
def test_bytes_that_no_validator_vouches_for_are_given_back_before_the_job_waits(
    full: System, origin: Origin, behave: dict[str, Any]
) -> None:
    file = origin.serve("/a.bin", size=10 * MIB, etag=None, chunked=True, **behave)
    job = full.submit(file.url)

    run_download(full.runtime, job.id)

    row = full.job(job)
    assert (row.status, row.bytes_downloaded, row.bytes_durable) == (S.WAITING, 0, 0)
    assert used(full) < MIB
    assert any("no validator" in reason for reason in history(full, job))


def test_bytes_that_a_validator_vouches_for_are_kept(full: System, origin: Origin) -> None:
    job = full.submit(origin.serve("/a.bin", size=10 * MIB, truncate_after=5 * MIB).url)
    run_download(full.runtime, job.id)
    assert full.job(job).bytes_durable == 5 * MIB


def test_origin_that_never_gets_further_is_not_asked_for_ever(full: System, origin: Origin) -> None:
    """Given an origin without validator that breaks off sooner and later in turn: none is progress."""
    file = origin.serve("/a.bin", size=4 * MIB, etag=None)

    def breaks_off(request: Request, plan: Plan) -> Plan:
        plan.fault = Fault("truncate", MIB if request.number % 2 else 2 * MIB)
        return plan

    file.behave(respond=breaks_off)
    job = full.submit(file.url, max_attempts=1)

    row = run_to_the_end(full, job, short_retries=3, retry_pause=0.01)

    assert (row.status, row.error_code) == (S.FAILED, "truncated")
    assert len(origin.requests) == 4
