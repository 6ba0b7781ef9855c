"""What beat has sent, read from an unserved queue, and beats that a test ticks by hand."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, NamedTuple

from celery import Celery

from tests.support.build import cache_settings
from tests.support.stores.server import StoreServer
from worker.celery_ext.scheduler import Scheduler

#: How long a message is good for, which also shows when it was sent.
EXPIRES = 60.0


class Sent(NamedTuple):
    """One message of a periodic task."""

    task: str
    pid: int
    """Of the beat that sent it."""
    at: float
    """When, in seconds since the epoch."""


def sent(store: StoreServer, task: str = "") -> list[Sent]:
    """Return what waits in the maintenance queue, oldest first; of one task if named."""
    with store.client(db=1) as client:
        raw = client.lrange("maintenance", 0, -1)
    found = [_read(json.loads(message)["headers"]) for message in reversed(raw)]
    return [one for one in found if not task or one.task == task]


def _read(headers: dict[str, Any]) -> Sent:
    pid = int(headers["origin"].partition("@")[0].removeprefix("gen"))
    expires = datetime.fromisoformat(headers["expires"]).timestamp()
    return Sent(headers["task"], pid, expires - EXPIRES)


def scheduler(
    store: StoreServer,
    intervals: dict[str, float],
    *,
    broker_url: str | None = None,
    **settings: Any,
) -> Scheduler:
    """Build one beat that sends ``cache.<name>`` every so many seconds; close it."""
    app = Celery("beat", set_as_current=False)
    app.config_from_object("seen_modules:celeryconfig")
    app.conf.update(
        broker_url=broker_url or store.url(1),
        beat_schedule={
            name: {"task": f"cache.{name}", "schedule": seconds, "options": {"expires": EXPIRES}}
            for name, seconds in intervals.items()
        },
        beat_max_loop_interval=5.0,
    )
    return Scheduler(app, settings=cache_settings(store, **settings))
