"""Run a group of jobs in its own process, which kills itself (SIGKILL) at a chosen point of the group.

    python -m tests.support.recovery.killed_group POINT JOB_ID …

A point is the moment before or after a step that the process does for several jobs at once.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

from cache.store.sync import SyncStore
from database.jobs import JobRepository
from database.operations import Claim, Transition
from domain.job import Job, JobStatus
from tests.support.servers.preloaded import run_module
from tests.support.services.running import SLOTS
from tests.support.services.system import ROOT, System, client_runtime
from worker.job_pool import JobMessage, JobPool
from worker.leases.drain import Drain
from worker.publishing import JobPublisher, Publication
from worker.storage.part_file import PartFile

#: What an item of a batch does, from the name of its flow or from its operation.
_FLOWS = {
    "LeaseManager.acquire_flow": "locks",
    "SlotManager.acquire_flow": "slots",
    "Holdings._give_back": "releases",
}
#: What carries the batches.
_BATCHES: list[tuple[type, str]] = [
    (SyncStore, "run_together"),
    (JobRepository, "perform"),
    (JobPublisher, "publish_all"),
]
_CHANGES = {JobStatus.VERIFYING: "verifying", JobStatus.COMPLETED: "ends"}

#: The moments between the steps that a group has in common, and between the files that it publishes.
POINTS = [
    "after the locks",
    "after the claims",
    "after the slots",
    "before the verifying",
    "after the verifying",
    "after the first file",
    "after the third file",
    "before the ends",
    "after the ends",
    "before the releases",
    "after the releases",
    "before the messages",
    "after the messages",
]
#: At these the process drains, so that its jobs are queued again and published.
_DRAINS = {point for point in POINTS if point.endswith("the messages")}


def run_apart(system: System, jobs: Sequence[Job], point: str) -> str:
    """Run a group of jobs up to a point; return "killed", or what the process printed at its end."""
    done = run_module(
        "tests.support.recovery.killed_group",
        [point, *(job.id for job in jobs)],
        environment=system.environment,
        folder=ROOT,
        timeout=60,
    )
    if done.returncode < 0:
        return "killed"
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def _kind(item: Any) -> str | None:
    if isinstance(item, Claim):
        return "claims"
    if isinstance(item, Publication):
        return "messages"
    if isinstance(item, Transition):
        return _CHANGES.get(item.change.to)
    return _FLOWS.get(getattr(item, "__qualname__", ""))


def _killing(run: Callable[..., Any], point: str, drain: Drain) -> Callable[..., Any]:
    def run_or_die(owner: Any, items: Sequence[Any], *rest: Any) -> Any:
        kinds = {_kind(item) for item in items}
        if point in _DRAINS and "claims" in kinds:
            drain.start()
        if any(point == f"before the {kind}" for kind in kinds):
            _die()
        results = run(owner, items, *rest)
        if any(point == f"after the {kind}" for kind in kinds):
            _die()
        return results

    return run_or_die


def _dying_publish(number: int) -> Callable[..., Any]:
    publish, published = PartFile.publish, []

    def publish_or_die(*arguments: Any, **options: Any) -> Any:
        path = publish(*arguments, **options)
        published.append(path)
        if len(published) == number:
            _die()
        return path

    return publish_or_die


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Run the jobs of the command line."""
    point, *job_ids = sys.argv[1:]
    drain = Drain()
    for owner, name in _BATCHES:
        setattr(owner, name, _killing(getattr(owner, name), point, drain))
    if point.endswith("file"):
        number = {"first": 1, "third": 3}[point.split()[2]]
        PartFile.publish = _dying_publish(number)  # type: ignore[method-assign]
    variables = {name: value for name, value in os.environ.items() if name.startswith("SEEN_")}
    runtime = client_runtime(variables, drain=drain)
    try:
        ends = JobPool(runtime, SLOTS).run(JobMessage(tuple(job_ids)))
        sys.stdout.write(" ".join(end.outcome.value for end in ends))
    finally:
        runtime.close()


if __name__ == "__main__":
    main()
