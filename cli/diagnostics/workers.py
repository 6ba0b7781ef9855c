"""Checks of Celery: the broker answers, workers serve all queues, beat runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from typing import TYPE_CHECKING

from cache import CacheManager, ttl
from cache.models import WorkerHeartbeat
from cli.diagnostics.beat import described
from cli.diagnostics.findings import Finding, ok, problem, warning
from cli.output import formatting
from domain.errors import StoreError
from domain.remedies import parts
from domain.text import escaped
from worker.app import app
from worker.broker import dead_letters
from worker.broker.client import Broker
from worker.broker.dead_letters import DeadLetter
from worker.broker.queues import QUEUES

if TYPE_CHECKING:
    from settings import Settings

_WITHOUT_BEAT = "waiting jobs and jobs of dead workers are not requeued, progress is not saved"


def examine(settings: Settings) -> Iterator[Finding]:
    """Yield the findings."""
    yield _beat(settings)
    try:
        with closing(Broker(app, timeout=settings.cache_timeout)) as broker:
            queued = broker.backlogs()
            unusable = broker.wrong_types()
            refused = [] if dead_letters.KEY in unusable else broker.dead_letters()
    except StoreError as error:
        yield problem("broker", str(error), "Start it, or set SEEN_BROKER_URL.")
        return
    counts = ", ".join(f"{count:,} {priority}" for priority, count in queued.items())
    yield ok("broker", f"answers; queued messages: {counts}")
    yield from (_unusable(key, kind) for key, kind in unusable.items())
    yield _dead_letters(refused)
    try:
        with CacheManager.connect(settings, retries=0) as cache:
            running = cache.workers.running()
    except StoreError as error:
        yield problem("workers", str(error), parts.REPAIR_STORE_FOR_WORKERS)
        return
    yield from _shared_names(running)
    served = _served(running)
    yield from (_workers_of(kind, served) for kind in QUEUES)


def _workers_of(kind: str, served: dict[str, list[str]]) -> Finding:
    """Return whether workers of one kind serve all of its queues."""
    queues = QUEUES[kind]
    workers = sorted({worker for queue in queues for worker in served.get(queue, [])})
    unserved = [queue for queue in queues if queue not in served]
    if not workers:
        return warning(
            f"workers of {kind}",
            f"none has sent a heartbeat within {ttl.WORKER_HEARTBEAT} s",
            parts.of_workers(kind, some_run=False),
        )
    if unserved:
        return warning(
            f"workers of {kind}",
            f"{', '.join(workers)}; none serves {', '.join(unserved)}",
            parts.of_workers(kind, some_run=True),
        )
    return ok(f"workers of {kind}", f"{len(workers)}: {', '.join(workers)}")


def _beat(settings: Settings) -> Finding:
    try:
        with CacheManager.connect(settings, retries=0) as cache:
            status = cache.beat.status()
    except StoreError as error:
        return problem("beat", str(error), parts.REPAIR_STORE_FOR_BEAT)
    if status is None:
        return warning("beat", "none has ticked within a day", parts.START_BEAT)
    if status.is_missing:
        return problem("beat", f"{described(status)}: {_WITHOUT_BEAT}", parts.START_BEAT)
    return ok("beat", described(status))


def _unusable(key: str, kind: str) -> Finding:
    shown = escaped(key)
    return problem(
        "broker keys",
        f"{shown} holds a {kind}, which Celery does not write; messages cannot be sent or consumed",
        "Find the program that wrote it, then delete or rename the key: "
        f"redis-cli -n <database> DEL {shown!r}.",
    )


def _dead_letters(letters: list[DeadLetter]) -> Finding:
    if not letters:
        return ok("dead letters", "none")
    newest, count = letters[0], len(letters)
    kept = f"at least {count:,}" if count >= dead_letters.MAX_ENTRIES else f"{count:,}"
    when = "" if newest.at is None else f", {formatting.ago(newest.at)}"
    return warning(
        "dead letters",
        f"{kept} refused; the newest{when}: {newest.queue}: {newest.reason}",
        "Another program writes to the broker, or Celery's own tools sent what workers do not accept. "
        "Run: seen dead-letters list; seen dead-letters clear",
    )


def _shared_names(running: Iterable[WorkerHeartbeat]) -> Iterator[Finding]:
    """Yield a finding for each name that several workers have."""
    counts = Counter(escaped(worker.name, 100) for worker in running)
    for name, count in counts.items():
        if count > 1:
            yield warning(
                "worker names",
                f"{count} workers are named {name}; remote control reaches all of them at once",
                "Start workers with `seen worker`, or give each its own name (-n).",
            )


def _served(running: Iterable[WorkerHeartbeat]) -> dict[str, list[str]]:
    """Return the names of workers by queue."""
    served: dict[str, list[str]] = {}
    for worker in running:
        for queue in worker.queues:
            served.setdefault(queue, []).append(escaped(worker.name, 100))
    return served
