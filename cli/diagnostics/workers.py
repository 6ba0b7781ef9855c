"""What `seen doctor` asks of Celery: that the broker answers, both queues are served, and beat ticks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import closing

import redis
from kombu.exceptions import OperationalError

import celeryconfig  # noqa: F401 - ours, before Celery looks for one in the current folder
from cache import CacheManager
from cache.store.connection import unavailable_error
from cli.diagnostics.beat import described
from cli.diagnostics.findings import Finding, ok, problem, warning
from cli.local_stack.command_lines import QUEUES
from cli.output import formatting
from domain.errors import StoreError
from domain.text import escaped
from settings import Settings
from worker.app import app
from worker.broker import dead_letters
from worker.broker.client import Broker
from worker.broker.dead_letters import DeadLetter

_TIMEOUT = 1.0
_START_BEAT = "Start one, or better two: seen beat (or `seen up` for everything here)."
_WITHOUT_BEAT = "waiting jobs are not woken, jobs of dead workers not found, progress not saved"


def examine(settings: Settings) -> Iterator[Finding]:
    """Yield the findings."""
    yield _beat(settings)
    try:
        with closing(Broker(app, timeout=settings.cache_timeout)) as broker:
            waiting = broker.backlogs()
            unusable = broker.wrong_types()
            refused = [] if dead_letters.KEY in unusable else broker.dead_letters()
    except StoreError as error:
        yield problem("broker", str(error), "Start it, or set SEEN_BROKER_URL.")
        return
    counts = ", ".join(f"{count:,} {priority}" for priority, count in waiting.items())
    yield ok("broker", f"answers; messages that wait for a download worker: {counts}")
    yield from (_unusable(key, kind) for key, kind in unusable.items())
    yield _dead_letters(refused)
    try:
        answers = _answers()
    except (OperationalError, redis.RedisError, OSError) as error:
        found = unavailable_error(error.__cause__ or error)
        yield problem(
            "workers", str(found), "Workers cannot be asked as long as the store does so."
        )
        return
    yield from _shared_names(answers)
    served = _served(answers)
    for kind, queues in QUEUES.items():
        workers = {worker for queue in queues for worker in served.get(queue, [])}
        unserved = [queue for queue in queues if queue not in served]
        if unserved and workers:
            yield warning(
                f"workers of {kind}",
                f"{', '.join(sorted(workers))}; none serves {', '.join(unserved)}",
                f"Start one that serves them all: seen worker --queue {kind}.",
            )
        elif workers:
            yield ok(f"workers of {kind}", f"{len(workers)}: {', '.join(sorted(workers))}")
        else:
            yield warning(
                f"workers of {kind}",
                f"none answered within {_TIMEOUT:g} s",
                f"Start one: seen worker --queue {kind} (or `seen up` for everything here).",
            )


def _beat(settings: Settings) -> Finding:
    try:
        with CacheManager.connect(settings, retries=0) as cache:
            status = cache.beat.status()
    except StoreError as error:
        return problem("beat", str(error), "What beat does is not known while the store does so.")
    if status is None:
        return warning("beat", "none has ticked within a day", _START_BEAT)
    if status.is_missing:
        return problem("beat", f"{described(status)}: {_WITHOUT_BEAT}", _START_BEAT)
    return ok("beat", described(status))


def _unusable(key: str, kind: str) -> Finding:
    shown = escaped(key)
    return problem(
        "broker keys",
        f"{shown} holds a {kind}, which is not what Celery keeps there: its messages cannot be sent or "
        "taken",
        f"Find out who wrote it, then delete or rename it: redis-cli -n <database> DEL {shown!r}.",
    )


def _dead_letters(letters: list[DeadLetter]) -> Finding:
    if not letters:
        return ok("dead letters", "no message was refused")
    newest, count = letters[0], len(letters)
    kept = f"at least {count:,}" if count >= dead_letters.MAX_ENTRIES else f"{count:,}"
    when = "" if newest.at is None else f", {formatting.ago(newest.at)}"
    return warning(
        "dead letters",
        f"{kept} refused; the newest one{when}: {newest.queue}: {newest.reason}",
        "Something else writes to the broker: seen dead-letters list, then seen dead-letters clear.",
    )


def _answers() -> list[dict[str, object]]:
    """Ask all workers for their queues: a list of objects from node name to queues."""
    return app.control.broadcast("active_queues", reply=True, timeout=_TIMEOUT) or []


def _shared_names(answers: list[dict[str, object]]) -> Iterator[Finding]:
    """Yield a finding for each name of several workers, which control commands cannot tell apart."""
    counts = Counter(escaped(name, 100) for answer in answers for name in answer)
    for name, count in counts.items():
        if count > 1:
            yield warning(
                "worker names",
                f"{count} workers are called {name}: what is asked of one reaches all of them",
                "Start workers by `seen worker`, or give each a name of its own (-n).",
            )


def _served(answers: list[dict[str, object]]) -> dict[str, list[str]]:
    """Return the workers that answered, by queue."""
    served: dict[str, list[str]] = {}
    for answer in answers:
        for worker, queues in answer.items():
            for name in _names(queues):
                served.setdefault(name, []).append(escaped(worker, 100))
    return served


def _names(queues: object) -> list[str]:
    """Return the names of the queues in a worker's answer; one of another form serves none."""
    listed = queues if isinstance(queues, list) else []
    return [str(queue["name"]) for queue in listed if isinstance(queue, dict) and "name" in queue]
