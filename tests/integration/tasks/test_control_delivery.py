"""The store gets the control request that SQL holds, whatever requests arrive at the same time."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import tasks
from domain.job import Action, Job
from tasks.api.control import _RULES, _Batch
from tasks.api.control_writer import ControlWriter
from tests.support.build import unused_url
from tests.support.servers.tcp_proxy import Proxy
from tests.support.services.operations import claim
from tests.support.services.system import System
from tests.support.stores.server import StoreServer


def claimed(system: System) -> Job:
    """A job that is claimed without a worker, so that its control request stays pending."""
    job = system.submit(unused_url())
    running = claim(system.runtime.jobs, job.id, worker="w", now=system.runtime.now())
    assert running is not None
    return running


def control_in_store(system: System, job: Job) -> str | None:
    """The control request that the store returns to the worker of this claim."""
    (reply,) = system.runtime.cache.download.apply([], [(job.id, job.fence)])
    return reply.control


def test_a_pause_resends_a_cancel_that_the_store_has_lost(
    system: System,
) -> None:
    job = claimed(system)
    tasks.cancel(job.id, runtime=system.runtime)
    system.runtime.cache.download.remove(job.id)
    tasks.pause(job.id, runtime=system.runtime)
    assert control_in_store(system, job) == "cancel"


@pytest.mark.parametrize("action", [Action.RESUME, Action.PAUSE])
def test_a_cancel_after_the_job_was_read_reaches_the_store(
    any_system: System, action: Action
) -> None:
    """Given a caller who has read a pause, and acts on it after another one has cancelled the job."""
    runtime = any_system.runtime
    job = claimed(any_system)
    tasks.pause(job.id, runtime=runtime)
    jobs = runtime.jobs
    writer = ControlWriter(jobs, runtime.cache.download, runtime.publisher, runtime.now)
    batch = _Batch(jobs, writer, _RULES[action], [job.id])
    read = [any_system.job(job)]
    tasks.cancel(job.id, runtime=runtime)
    batch._apply(read)
    assert any_system.job(job).control == "cancel"
    assert control_in_store(any_system, job) == "cancel"
    result = batch.run()
    assert (result.changed, [one.control for one in result.unchanged]) == ([], ["cancel"])
    assert control_in_store(any_system, job) == "cancel"


@pytest.fixture
def proxy(store: StoreServer) -> Iterator[Proxy]:
    with Proxy(store.port) as proxy:
        yield proxy


@pytest.fixture
def delayed(
    system: System, proxy: Proxy, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[System]:
    """The same service for a caller whose requests reach the store through the proxy."""
    settings = {"SEEN_CACHE_ADDR": proxy.addr, "SEEN_DATABASE_URL": _url(system)}
    folder: Path = tmp_path_factory.mktemp("caller")
    with System(folder, system.store, settings=settings) as caller:
        yield caller


def _url(system: System) -> str:
    return system.variables["SEEN_DATABASE_URL"]


@pytest.mark.parametrize(
    ("slow", "fast", "expected"),
    [
        ([Action.PAUSE], [Action.CANCEL], "cancel"),
        ([Action.PAUSE, Action.RESUME], [Action.PAUSE], "pause"),
        ([Action.PAUSE, Action.RESUME], [Action.CANCEL], "cancel"),
        ([Action.PAUSE], [Action.RESUME], None),
    ],
)
def test_the_store_ends_with_what_sql_has_when_requests_overtake_each_other(
    system: System,
    delayed: System,
    proxy: Proxy,
    slow: list[Action],
    fast: list[Action],
    expected: str | None,
) -> None:
    """Given a caller who comes first in SQL and second in the store."""
    job = claimed(system)
    *before, last = slow
    for action in before:
        tasks.control_many(action, [job.id], runtime=system.runtime)

    def overtake() -> None:
        for action in fast:
            tasks.control_many(action, [job.id], runtime=system.runtime)

    proxy.before(job.id.encode(), overtake)
    tasks.control_many(last, [job.id], runtime=delayed.runtime)
    assert proxy.idle
    assert (system.job(job).control, control_in_store(system, job)) == (expected, expected)


def test_concurrent_requests_for_a_running_job_leave_store_and_sql_equal(
    any_system: System,
) -> None:
    runtime = any_system.runtime
    for actions in ([Action.PAUSE, Action.RESUME], [Action.PAUSE, Action.RESUME, Action.CANCEL]):
        job = claimed(any_system)

        def request(number: int, job: Job = job, actions: list[Action] = actions) -> None:
            # "cancel" comes once, in the middle of the others.
            action = actions[number % 2] if number != 20 else actions[-1]
            tasks.control_many(action, [job.id], runtime=runtime)

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(request, range(40)))
        assert control_in_store(any_system, job) == any_system.job(job).control
    assert any_system.job(job).control == "cancel"
