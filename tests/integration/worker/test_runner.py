"""One download, run in this process on a real store, database and origin."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import pytest

import tasks
from domain.job import Job, JobStatus
from tests.support.origins.origin import Origin
from tests.support.services.running import run, run_download
from tests.support.services.system import System
from tests.support.wait import wait_until
from worker.outcome import Outcome
from worker.storage.part_file import PartFile

S = JobStatus


def statuses(system: System, job: Job) -> list[JobStatus]:
    return [event.to_status for event in system.runtime.jobs.events(job.id)]


def publish_and_crash(system: System, job: Job, body: bytes) -> None:
    """Leave what a worker leaves that crashes between publishing the file and noting it in SQL."""
    with PartFile(system.downloads, job.id) as part:
        part.write_at([body], 0)
        digest = hashlib.sha256(body).hexdigest()
        part.publish("a.bin", overwrite=False, digests=[f"sha256:{digest}"])


def working_files(system: System) -> list[str]:
    return [path.name for path in system.downloads.rglob(".seen-*")]


def test_a_download_completes_with_the_right_bytes(any_system: System, origin: Origin) -> None:
    file = origin.serve("/film.mkv", size=3_000_000)
    job = any_system.submit(file.url, checksum=f"sha256:{file.sha256}", user_id="ada")

    assert run(any_system, job) is Outcome.COMPLETED

    row = any_system.job(job)
    assert row.status is S.COMPLETED
    assert row.bytes_downloaded == row.bytes_total == row.bytes_durable == 3_000_000
    assert row.sha256 == file.sha256
    assert row.path == str(any_system.downloads / "film.mkv")
    assert hashlib.sha256(Path(row.path).read_bytes()).hexdigest() == file.sha256
    assert statuses(any_system, job) == [S.QUEUED, S.DOWNLOADING, S.VERIFYING, S.COMPLETED]
    assert working_files(any_system) == []


def test_the_store_shows_the_end_and_holds_no_lock(system: System, origin: Origin) -> None:
    job = system.submit(origin.serve("/a.bin", size=10_000).url, user_id="ada")
    run(system, job)

    cache = system.runtime.cache
    progress = cache.download.get_progress(job.id)
    assert progress is not None
    assert (progress.status, progress.progress_percent) == (S.COMPLETED, 100.0)
    assert cache.held_download_locks([job.id]) == set()
    assert cache.download.get_active_downloads() == []
    assert 0 < (cache.service.ttl(cache.keys.download_job_key(job.id)) or 0) <= 3


def test_a_second_message_for_a_running_job_does_nothing(system: System, origin: Origin) -> None:
    gate = threading.Event()
    file = origin.serve("/a.bin", size=100_000, gate=gate, gate_after=50_000)
    job = system.submit(file.url)
    first = threading.Thread(target=run, args=(system, job))
    first.start()
    wait_until(lambda: system.job(job).status is S.DOWNLOADING)

    assert run(system, job) is Outcome.ALREADY_RUNNING

    gate.set()
    first.join()
    assert system.job(job).status is S.COMPLETED
    assert len(origin.requests_for("/a.bin")) == 1


def test_a_message_for_a_finished_job_does_nothing(system: System, origin: Origin) -> None:
    job = system.submit(origin.serve("/a.bin", size=1000).url)
    run(system, job)

    assert run(system, job) is Outcome.NOT_QUEUED
    assert len(origin.requests_for("/a.bin")) == 1


def test_a_message_for_an_unknown_job_does_nothing(system: System) -> None:
    assert (
        run_download(system.runtime, "01a20000-0000-7000-8000-000000000000") is Outcome.NOT_QUEUED
    )


def test_while_it_runs_the_lock_is_renewed_and_the_counts_rise(
    system: System, origin: Origin
) -> None:
    file = origin.serve("/slow.bin", size=2_000_000, bytes_per_second=400_000)
    job = system.submit(file.url)
    thread = threading.Thread(target=run, args=(system, job))
    thread.start()
    cache = system.runtime.cache
    lock = cache.keys.download_lock_key(job.id)

    first = wait_until(lambda: cache.download.get_progress(job.id))
    assert first is not None
    started_with = wait_until(lambda: cache.service.ttl(lock))
    assert started_with is not None
    assert started_with <= 3
    # It sinks, and then it is renewed: a TTL that only sank would end the lock.
    lowest = wait_until(lambda: _below(cache.service.ttl(lock), 2.2)) or 0.0
    wait_until(lambda: (cache.service.ttl(lock) or 0) > lowest + 0.3)

    def has_grown() -> bool:
        now = cache.download.get_progress(job.id)
        return now is not None and now.bytes_downloaded > first.bytes_downloaded

    wait_until(has_grown)
    thread.join()
    assert system.job(job).status is S.COMPLETED


def _below(ttl: float | None, bound: float) -> float | None:
    return ttl if ttl is not None and ttl < bound else None


@pytest.mark.parametrize(
    ("status", "requests"),
    [(401, 1), (403, 2), (404, 1), (410, 1), (451, 1)],  # a 403 is asked once more, with a Range
)
def test_a_status_that_stays_fails_at_once(
    system: System, origin: Origin, status: int, requests: int
) -> None:
    job = system.submit(origin.serve("/gone", body=b"x", status=status).url)

    assert run(system, job) is Outcome.FAILED

    row = system.job(job)
    assert (row.error_code, row.attempts) == (f"http_{status}", 1)
    assert str(status) in (row.reason or "")
    assert len(origin.requests_for("/gone")) == requests


def test_a_wrong_checksum_fails_and_publishes_nothing(system: System, origin: Origin) -> None:
    job = system.submit(origin.serve("/a.bin", size=10_000).url, checksum="sha256:" + "0" * 64)

    assert run(system, job) is Outcome.FAILED
    row = system.job(job)
    assert (row.error_code, row.bytes_durable) == ("checksum_mismatch", 0)
    assert list(system.downloads.iterdir()) == []  # nothing that a retry could take for good


def test_an_unknown_length_completes_and_is_said_to_be_unknown(
    system: System, origin: Origin
) -> None:
    gate = threading.Event()
    file = origin.serve("/a.bin", size=200_000, send_length=False, gate=gate, gate_after=100_000)
    job = system.submit(file.url)
    thread = threading.Thread(target=run, args=(system, job))
    thread.start()
    cache = system.runtime.cache.download

    def some_bytes() -> bool:
        progress = cache.get_progress(job.id)
        return progress is not None and progress.bytes_downloaded > 0

    wait_until(some_bytes)
    progress = cache.get_progress(job.id)
    assert progress is not None
    assert (progress.bytes_total, progress.progress_percent) == (None, None)
    gate.set()
    thread.join()
    assert system.job(job).bytes_total == 200_000


def test_an_empty_file_completes(system: System, origin: Origin) -> None:
    job = system.submit(origin.serve("/empty.bin", body=b"").url)
    assert run(system, job) is Outcome.COMPLETED
    assert (system.downloads / "empty.bin").read_bytes() == b""


def test_a_redirect_is_followed(system: System, origin: Origin) -> None:
    file = origin.serve("/real.bin", size=5_000)
    job = system.submit(origin.serve("/link", body=b"", redirect="/real.bin").url)
    assert run(system, job) is Outcome.COMPLETED
    assert system.job(job).sha256 == file.sha256


def test_a_name_beyond_ascii_is_fetched(system: System, origin: Origin) -> None:
    file = origin.serve("/caf%C3%A9.bin", size=1000)
    job = system.submit(origin.url("/café.bin"))
    assert run(system, job) is Outcome.COMPLETED
    assert system.job(job).path == str(system.downloads / "café.bin")
    assert system.job(job).sha256 == file.sha256


def test_a_redirect_loop_fails(system: System, origin: Origin) -> None:
    job = system.submit(origin.serve("/loop", body=b"", redirect="/loop").url)
    assert run(system, job) is Outcome.FAILED
    assert system.job(job).error_code == "too_many_redirects"


def test_the_name_comes_from_the_request_then_the_origin_then_the_url(
    system: System, origin: Origin
) -> None:
    header = "attachment; filename*=UTF-8''d%C3%A9j%C3%A0.txt"
    named = origin.serve("/1.bin", body=b"1", content_disposition=header).url
    first = system.submit(named, name="mine.txt")
    second = system.submit(named)
    third = system.submit(origin.serve("/3%20three.bin", body=b"3").url)
    for job in (first, second, third):
        assert run(system, job) is Outcome.COMPLETED
    names = [Path(system.job(job).path or "").name for job in (first, second, third)]
    assert names == ["mine.txt", "déjà.txt", "3 three.bin"]


def test_a_taken_name_gets_a_number_without_overwrite(system: System, origin: Origin) -> None:
    url = origin.serve("/a.txt", body=b"new").url
    system.downloads.mkdir()
    (system.downloads / "a.txt").write_bytes(b"old")

    run(system, system.submit(url))
    assert (system.downloads / "a.txt").read_bytes() == b"old"
    assert (system.downloads / "a (1).txt").read_bytes() == b"new"

    run(system, system.submit(url, overwrite=True))
    assert (system.downloads / "a.txt").read_bytes() == b"new"
    assert working_files(system) == []


def test_a_private_address_is_refused_unless_allowed(
    tmp_path: Path, system: System, origin: Origin
) -> None:
    with System(tmp_path, system.store, settings={"SEEN_ALLOWED_NETWORKS": ""}) as strict:
        job = strict.submit(origin.serve("/a.bin", body=b"x").url)
        assert run(strict, job) is Outcome.FAILED
        assert strict.job(job).error_code == "forbidden_address"
    assert origin.requests == []


def test_a_full_disk_waits_and_keeps_the_part_file(
    tmp_path: Path, system: System, origin: Origin
) -> None:
    with System(tmp_path, system.store, settings={"SEEN_MIN_FREE_BYTES": str(1 << 60)}) as full:
        job = full.submit(origin.serve("/a.bin", size=10_000).url)
        assert run(full, job) is Outcome.WAITING
        row = full.job(job)
        assert row.error_code == "disk_full"
        assert "more bytes are needed" in (row.reason or "")
        assert working_files(full) == [f".seen-{job.id}.part"]


def test_a_file_published_before_a_crash_is_recognised(system: System, origin: Origin) -> None:
    """Given a worker that crashed between publishing the file and noting it in SQL."""
    file = origin.serve("/a.bin", size=10_000)
    job = system.submit(file.url)
    publish_and_crash(system, job, file.body_slice(0, 10_000))

    assert run(system, job) is Outcome.COMPLETED

    assert system.job(job).sha256 == file.sha256
    assert sorted(path.name for path in system.downloads.iterdir()) == ["a.bin"]
    assert origin.requests == []


def test_a_file_published_before_a_crash_goes_when_its_job_is_cancelled(
    system: System, origin: Origin
) -> None:
    """Given a worker that crashed after it published, and a cancel before the next attempt."""
    job = system.submit(origin.serve("/a.bin", size=10_000).url)
    publish_and_crash(system, job, b"x" * 10_000)
    (system.downloads / "b.bin").write_bytes(b"of another user")

    tasks.cancel(job.id, runtime=system.runtime)
    # The message makes a worker delete the files.
    assert run(system, job) is Outcome.NOT_QUEUED

    assert [path.name for path in system.downloads.iterdir()] == ["b.bin"]
