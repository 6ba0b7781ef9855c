"""What `seen doctor` asks of Celery: that the broker answers, and that both queues are served."""

from __future__ import annotations

from collections.abc import Iterator

import celeryconfig  # noqa: F401 - ours, before Celery looks for one in the current folder
from cli.findings import Finding, ok, problem, warning
from cli.programs import DOWNLOADS, MAINTENANCE
from domain.errors import StoreUnavailableError
from worker.app import app
from worker.broker import Broker

_TIMEOUT = 1.0


def examine() -> Iterator[Finding]:
    """Yield the findings."""
    try:
        waiting = Broker(app).backlog()
    except StoreUnavailableError as error:
        yield problem("broker", str(error), "Start it, or set SEEN_BROKER_URL.")
        return
    yield ok("broker", f"answers; {waiting} messages wait in the download queue")
    served = _served()
    for queue in (DOWNLOADS, MAINTENANCE):
        workers = served.get(queue, [])
        if workers:
            yield ok(f"workers of {queue}", ", ".join(sorted(workers)))
        else:
            yield warning(
                f"workers of {queue}",
                f"none answered within {_TIMEOUT:g} s",
                f"Start one: seen worker --queue {queue} (or `seen up` for everything here).",
            )


def _served() -> dict[str, list[str]]:
    """Return the workers that answer, by queue."""
    answers = app.control.inspect(timeout=_TIMEOUT).active_queues() or {}
    served: dict[str, list[str]] = {}
    for worker, queues in answers.items():
        for queue in queues:
            served.setdefault(queue["name"], []).append(worker)
    return served
