"""The whole service as processes: downloads, and what happens when a process dies."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

import tasks
from domain.job import JobStatus
from tests.support.origins.origin import Origin
from tests.support.servers.postgres import PostgresServer
from tests.support.servers.process import end_process
from tests.support.services.running import downloaded
from tests.support.services.system import System
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until
from worker.metrics.reading import read_totals

S = JobStatus


@pytest.fixture
def service(tmp_path: Path, private_store: StoreServer) -> Iterator[System]:
    """A service of its own, whose processes the test starts."""
    with System(tmp_path, private_store) as system:
        yield system


def test_a_slow_download_is_followed_by_hash_and_database(service: System, origin: Origin) -> None:
    service.start_all()
    file = origin.serve("/slow.bin", size=3_000_000, bytes_per_second=700_000)
    job = service.submit(file.url, checksum=f"sha256:{file.sha256}")

    first = wait_until(lambda: downloaded(service, job))
    lock = service.runtime.cache.keys.download_lock_key(job.id)
    assert 0 < (service.runtime.cache.service.ttl(lock) or 0) <= 3
    wait_until(lambda: downloaded(service, job) > first)
    wait_until(lambda: 0 < service.job(job).bytes_downloaded <= downloaded(service, job))
    service.runtime.broker.publish(
        [job], service.runtime.now()
    )  # a second message for the running job

    done = service.wait_for(job, S.COMPLETED)

    assert done.bytes_downloaded == done.bytes_total == 3_000_000
    assert len(origin.requests_for("/slow.bin")) == 1
    assert [e.to_status for e in service.runtime.jobs.events(job.id)].count(S.DOWNLOADING) == 1


def test_a_killed_worker_costs_no_bytes_that_were_durable(service: System, origin: Origin) -> None:
    first = service.start_all()
    file = origin.serve("/a.bin", size=3_000_000, bytes_per_second=800_000)
    job = service.submit(file.url, checksum=f"sha256:{file.sha256}")
    wait_until(lambda: service.job(job).bytes_durable > 500_000)

    end_process(first, how=signal.SIGKILL)
    service.start_worker()

    done = service.wait_for(job, S.COMPLETED)
    assert done.sha256 == file.sha256
    assert (done.fence, done.attempts) == (2, 2)
    again = origin.requests_for("/a.bin")[1]
    assert again.range is not None
    assert (again.range[0] or 0) > 500_000
    # The state comes first, then the tidying up.
    wait_until(lambda: [path.name for path in service.downloads.iterdir()] == ["a.bin"])


def test_a_stopped_worker_hands_its_download_over(service: System, origin: Origin) -> None:
    first = service.start_worker()
    # For longer than the second worker takes to start on a busy machine.
    file = origin.serve("/a.bin", size=6_000_000, bytes_per_second=200_000)
    job = service.submit(file.url)
    wait_until(lambda: downloaded(service, job) > 200_000)
    second = service.start_worker()

    file.behave(bytes_per_second=None)  # from the next request on
    first.send_signal(signal.SIGTERM)
    assert wait_until(lambda: first.poll() is not None, deadline=5, what="drained")
    assert first.returncode == 0

    done = service.wait_for(job, S.COMPLETED)
    assert done.sha256 == file.sha256
    assert (done.fence, done.attempts) == (2, 1)
    assert (origin.requests_for("/a.bin")[1].range or (0,))[0]
    assert second.poll() is None


def test_a_hundred_jobs_at_once_are_each_fetched_once(service: System, origin: Origin) -> None:
    service.start_all(concurrency=8)
    files = [origin.serve(f"/{number}.bin", size=30_000 + number) for number in range(100)]
    requests = [tasks.DownloadRequest(url=file.url) for file in files]
    jobs = tasks.submit_many(requests, runtime=service.runtime)

    def all_done() -> bool:
        return service.runtime.jobs.count_by_status() == {S.COMPLETED: 100}

    wait_until(all_done, deadline=60)
    for job, file in zip(jobs, files, strict=True):
        assert service.job(job).sha256 == file.sha256
    assert len(origin.requests) == 100


def test_a_job_that_waits_is_tried_again_by_beat(service: System, origin: Origin) -> None:
    service.start_all()
    file = origin.serve("/a.bin", size=10_000, statuses=[503, 503])
    job = service.submit(file.url)
    assert service.wait_for(job, S.COMPLETED).attempts == 3


def test_cancel_reaches_a_silent_transfer(service: System, origin: Origin) -> None:
    service.start_worker()
    job = service.submit(origin.serve("/a.bin", size=400_000, hang_after=200_000).url)
    wait_until(lambda: downloaded(service, job) == 200_000)
    tasks.cancel(job.id, runtime=service.runtime)
    service.wait_for(job, S.CANCELLED, deadline=30)
    # The state comes first, then the tidying up.
    wait_until(lambda: not list(service.downloads.iterdir()))


def test_a_store_that_loses_everything_costs_seconds_not_jobs(
    service: System, private_store: StoreServer, origin: Origin
) -> None:
    service.start_all()
    file = origin.serve("/a.bin", size=4_000_000, bytes_per_second=600_000)
    running = service.submit(file.url)
    wait_until(lambda: downloaded(service, running) > 300_000)

    private_store.restart(lose_data=True)
    queued = service.submit(origin.serve("/b.bin", size=1000).url)

    assert service.wait_for(running, S.COMPLETED, deadline=60).sha256 == file.sha256
    service.wait_for(queued, S.COMPLETED, deadline=60)
    assert origin.max_concurrent("/a.bin") == 1


def test_a_database_that_goes_away_delays_only_the_last_word(
    tmp_path: Path,
    store: StoreServer,
    postgres: PostgresServer,
    migrated_postgres_url: str,
    origin: Origin,
) -> None:
    with System(tmp_path, store, database_url=migrated_postgres_url) as service:
        service.start_all()
        file = origin.serve("/a.bin", size=1_500_000, bytes_per_second=700_000)
        job = service.submit(file.url)
        wait_until(lambda: downloaded(service, job) > 100_000)

        postgres.stop()
        wait_until(lambda: downloaded(service, job) == 1_500_000)
        postgres.start()

        done = service.wait_for(job, S.COMPLETED)
        assert done.sha256 == file.sha256
        assert len(origin.requests_for("/a.bin")) == 1


def _counted(service: System, name: str, *labels: str) -> float:
    """Return one series of what all processes have published."""
    found = {one.name: totals for one, totals in read_totals(service.runtime.cache.metrics.read())}
    return sum(total.value for total in found[name] if total.labels == labels)


def test_the_children_of_a_prefork_pool_count_for_all(service: System, origin: Origin) -> None:
    """Two slow transfers at once are in two children; each publishes its own counts, once."""
    service.start_worker(pool="prefork", concurrency=2)
    jobs = [
        service.submit(origin.serve(f"/{n}.bin", size=600_000, bytes_per_second=300_000).url)
        for n in range(2)
    ]
    for job in jobs:
        service.wait_for(job, S.COMPLETED)
    # The parent and its children.
    wait_until(lambda: _counted(service, "seen_processes", "worker") == 3, deadline=60)
    wait_until(lambda: _counted(service, "seen_job_runs", "completed") == 2, deadline=60)
    wait_until(lambda: _counted(service, "seen_received_bytes") == 1_200_000, deadline=60)


def test_the_prefork_pool_works_and_drains_too(service: System, origin: Origin) -> None:
    worker = service.start_worker(pool="prefork", concurrency=2)
    assert "concurrency: 2 (prefork)" in service.logs()
    quick = service.submit(origin.serve("/quick.bin", size=10_000).url)
    service.wait_for(quick, S.COMPLETED)
    slow = service.submit(origin.serve("/slow.bin", size=3_000_000, bytes_per_second=500_000).url)
    wait_until(lambda: downloaded(service, slow) > 100_000)

    worker.send_signal(signal.SIGTERM)
    assert wait_until(lambda: worker.poll() is not None, deadline=8, what="drained")
    assert service.job(slow).status is S.QUEUED
    assert service.job(slow).bytes_durable > 0


def test_no_url_reaches_a_log_or_the_broker(
    service: System, private_store: StoreServer, origin: Origin
) -> None:
    service.start_all()
    origin.serve("/a.bin", size=1000, statuses=[503])
    job = service.submit(origin.url("/a.bin") + "?token=top-secret")
    service.wait_for(job, S.COMPLETED)
    assert "top-secret" not in service.logs()
    for database in range(3):
        client = private_store.client(db=database)
        for key in client.scan_iter():
            assert b"top-secret" not in (client.dump(key) or b"")
