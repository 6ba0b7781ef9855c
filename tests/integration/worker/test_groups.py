"""Groups of jobs: what goes wrong for one, or in the middle, concerns no other job of the group."""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import update

from database.models import jobs as table
from domain.job import Job, JobStatus
from tests.support.origins.behaviour import Plan, Request
from tests.support.origins.origin import Origin, ServedFile
from tests.support.recovery.killed_group import POINTS, run_apart
from tests.support.servers.tcp_proxy import Proxy
from tests.support.services.running import SLOTS
from tests.support.services.system import System, client_runtime
from tests.support.stores.server import StoreServer
from worker.job_pool import JobMessage, JobPool
from worker.outcome import JobEnd, Outcome
from worker.runtime import Runtime

S = JobStatus
COUNT = 6


def submit(
    system: System, origin: Origin, count: int = COUNT, *, size: int = 20_000
) -> list[tuple[Job, ServedFile]]:
    """Submit jobs for files of an origin, each for its own."""
    files = [origin.serve(f"/{number}.bin", size=size) for number in range(count)]
    return [(system.submit(file.url), file) for file in files]


def run_group(runtime: Runtime, jobs: Sequence[Job]) -> list[JobEnd]:
    """Run jobs as a worker does that has consumed a message that names them; wait for all their ends."""
    return JobPool(runtime, SLOTS).run(JobMessage(tuple(job.id for job in jobs)))


def hand_on(system: System, jobs: Sequence[Job]) -> None:
    """Do what recovery does with the jobs of a killed worker whose locks have expired: queue them."""
    ids = [job.id for job in jobs]
    with system.store.client() as client:
        client.delete(*(f"seen:lock:download:{one}" for one in ids))
    running = {S.DOWNLOADING.value, S.VERIFYING.value}
    with system.runtime.database.write() as connection:
        connection.execute(
            update(table)
            .where(table.c.id.in_(ids), table.c.status.in_(running))
            .values(status=S.QUEUED.value)
        )


def check(system: System, origin: Origin, pairs: Sequence[tuple[Job, ServedFile]]) -> None:
    """Check that each job is completed with its own file, and that nothing else is in the folder."""
    for job, file in pairs:
        row = system.job(job)
        assert (row.status, row.sha256) == (S.COMPLETED, file.sha256), row.reason
        assert row.path is not None
        assert hashlib.sha256(Path(row.path).read_bytes()).hexdigest() == file.sha256
        assert origin.sent_at_once(file.path) == []
        assert origin.max_concurrent(file.path) <= 1
    names = sorted(path.name for path in system.downloads.iterdir())
    assert names == sorted(Path(file.path).name for _, file in pairs)


def check_nothing_is_held(system: System) -> None:
    """Check that the store has no lock and no slot of a job."""
    with system.store.client() as client:
        assert client.keys("seen:lock:download:*") == []
        assert client.keys("seen:slots:*") == []


@contextmanager
def at_request(origin: Origin, path: str, action: Callable[[], object]) -> Iterator[None]:
    """Call `action` once, when the file at `path` is first requested."""
    waiting = [action]
    mutex = threading.Lock()

    def respond(request: Request, plan: Plan) -> Plan:
        with mutex:
            if request.path == path and waiting:
                waiting.pop()()
        return plan

    origin.overrule(respond)
    try:
        yield
    finally:
        origin.overrule(None)


# ── killed workers ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("point", POINTS)
def test_the_jobs_of_a_killed_group_are_completed_by_another_worker(
    system: System, origin: Origin, point: str
) -> None:
    pairs = submit(system, origin)
    jobs = [job for job, _ in pairs]
    assert run_apart(system, jobs, point) == "killed"
    completed = [job for job in jobs if system.job(job).status is S.COMPLETED]
    hand_on(system, jobs)
    outcomes = Counter(end.outcome for end in run_group(system.runtime, jobs))
    assert outcomes[Outcome.COMPLETED] == COUNT - len(completed)
    assert outcomes[Outcome.NOT_QUEUED] == len(completed)
    check(system, origin, pairs)


def test_every_point_of_a_group_is_reached(system: System, origin: Origin) -> None:
    """The points of the test above are none that a group does not come by: without one it ends."""
    pairs = submit(system, origin, 2)
    ended = run_apart(system, [job for job, _ in pairs], "nowhere")
    assert ended.split() == ["completed"] * 2
    check_nothing_is_held(system)


# ── one job of a group ──────────────────────────────────────────────────────────────────────────


def test_a_job_that_sql_refuses_by_its_fence_does_not_touch_the_others(
    system: System, origin: Origin
) -> None:
    """Given a newer claim of one job, made while the whole group transfers."""
    pairs = submit(system, origin)
    (stolen, stolen_file), *others = pairs

    def steal() -> None:
        with system.runtime.database.write() as connection:
            connection.execute(
                update(table)
                .where(table.c.id == stolen.id)
                .values(fence=table.c.fence + 1, worker="another:1")
            )

    with at_request(origin, stolen_file.path, steal):
        ends = {end.job_id: end.outcome for end in run_group(system.runtime, [j for j, _ in pairs])}
    assert ends.pop(stolen.id) is Outcome.FENCED
    assert set(ends.values()) == {Outcome.COMPLETED}
    assert system.job(stolen).status is S.DOWNLOADING
    assert not (system.downloads / Path(stolen_file.path).name).exists()
    for job, _ in others:
        assert system.job(job).status is S.COMPLETED
    check_nothing_is_held(system)
    hand_on(system, [stolen])
    assert [end.outcome for end in run_group(system.runtime, [stolen])] == [Outcome.COMPLETED]
    check(system, origin, pairs)


def test_a_job_whose_keys_hold_another_type_does_not_touch_the_others(
    system: System, origin: Origin
) -> None:
    pairs = submit(system, origin)
    keys = system.runtime.cache.keys
    foreign = [keys.download_lock_key(pairs[0][0].id), keys.download_job_key(pairs[1][0].id)]
    with system.store.client() as client:
        for key in foreign:
            client.lpush(key, "foreign")
        ends = run_group(system.runtime, [job for job, _ in pairs])
        client.delete(*foreign)
    by_job = {end.job_id: end.outcome for end in ends}
    assert by_job.pop(pairs[0][0].id) is Outcome.NOT_STARTED
    assert set(by_job.values()) == {Outcome.COMPLETED}
    check_nothing_is_held(system)
    run_group(system.runtime, [pairs[0][0]])
    check(system, origin, pairs)


def test_a_file_that_cannot_be_published_fails_its_own_job_only(
    system: System, origin: Origin
) -> None:
    """Given digests that two of the files do not have."""
    files = [origin.serve(f"/{number}.bin", size=20_000) for number in range(COUNT)]
    pairs = [
        (system.submit(f.url, checksum="sha256:" + "0" * 64 if n < 2 else None), f)
        for n, f in enumerate(files)
    ]
    ends = {e.job_id: e.outcome for e in run_group(system.runtime, [job for job, _ in pairs])}
    assert [ends[job.id] for job, _ in pairs[2:]] == [Outcome.COMPLETED] * (COUNT - 2)
    assert Outcome.COMPLETED not in {ends[job.id] for job, _ in pairs[:2]}
    check_nothing_is_held(system)


# ── several workers ─────────────────────────────────────────────────────────────────────────────


def test_workers_with_overlapping_groups_fetch_nothing_twice(
    system: System, origin: Origin
) -> None:
    """Given three workers whose messages name the same jobs, in other orders."""
    pairs = submit(system, origin, 12, size=60_000)
    jobs = [job for job, _ in pairs]
    groups = [jobs, jobs[::-1], jobs[6:] + jobs[:6]]
    runtimes = [system.runtime, *(client_runtime(system.variables) for _ in groups[1:])]
    outcomes: list[Outcome] = []
    threads = [
        threading.Thread(
            target=lambda r=runtime, g=group: outcomes.extend(e.outcome for e in run_group(r, g))
        )
        for runtime, group in zip(runtimes, groups, strict=True)
    ]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    finally:
        for runtime in runtimes[1:]:
            runtime.close()
    counts = Counter(outcomes)
    assert counts.pop(Outcome.COMPLETED) == 12
    assert set(counts) <= {Outcome.ALREADY_RUNNING, Outcome.NOT_QUEUED}
    check(system, origin, pairs)
    assert [len(origin.requests_for(file.path)) for _, file in pairs] == [1] * 12
    check_nothing_is_held(system)


# ── a store that fails in the middle ────────────────────────────────────────────────────────────


@pytest.fixture
def proxied(tmp_path: Path, store: StoreServer) -> Iterator[tuple[System, Proxy]]:
    with Proxy(store.port) as proxy:
        settings = {"SEEN_CACHE_ADDR": proxy.addr, "SEEN_LOCK_TTL": "30", "SEEN_ORPHAN_AFTER": "30"}
        with System(tmp_path, store, settings=settings) as system:
            yield system, proxy


#: Which request is answered by a lost connection; the first one with these bytes.
REQUESTS = {"the locks": b"lock:download", "the slots": b"seen:slots", "the ends": b"HDEL"}


@pytest.mark.parametrize("part", REQUESTS.values(), ids=REQUESTS)
def test_a_connection_that_is_lost_in_the_middle_of_a_group(
    proxied: tuple[System, Proxy], origin: Origin, part: bytes
) -> None:
    """The server has run the group's commands, and no reply comes: they are sent again."""
    system, proxy = proxied
    pairs = submit(system, origin)
    proxy.cut_after_request(part)
    ends = run_group(system.runtime, [job for job, _ in pairs])
    assert {end.outcome for end in ends} == {Outcome.COMPLETED}
    check(system, origin, pairs)
    check_nothing_is_held(system)


def test_a_store_that_is_gone_while_a_group_transfers(
    proxied: tuple[System, Proxy], origin: Origin
) -> None:
    """What has its slots by then is completed, the rest is queued again. Locks expire by themselves."""
    system, proxy = proxied
    pairs = submit(system, origin)
    jobs = [job for job, _ in pairs]
    with at_request(origin, pairs[0][1].path, proxy.cut):
        outcomes = Counter(end.outcome for end in run_group(system.runtime, jobs))
    proxy.heal()
    assert set(outcomes) <= {Outcome.COMPLETED, Outcome.REQUEUED}
    assert outcomes[Outcome.COMPLETED] >= 1
    hand_on(system, jobs)
    again = Counter(end.outcome for end in run_group(system.runtime, jobs))
    assert again[Outcome.COMPLETED] == outcomes[Outcome.REQUEUED]
    check(system, origin, pairs)


def test_a_store_that_is_gone_starts_no_job_of_a_group(
    proxied: tuple[System, Proxy], origin: Origin
) -> None:
    system, proxy = proxied
    pairs = submit(system, origin)
    jobs = [job for job, _ in pairs]
    proxy.cut()
    ends = run_group(system.runtime, jobs)
    assert [end.outcome for end in ends] == [Outcome.NOT_STARTED] * COUNT
    assert origin.requests == []
    proxy.heal()
    assert {end.outcome for end in run_group(system.runtime, jobs)} == {Outcome.COMPLETED}
    check(system, origin, pairs)
