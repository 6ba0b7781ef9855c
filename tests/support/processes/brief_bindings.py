"""The `celery` command, with kombu's times for bindings cut from an hour to seconds. Run, not imported:

    python -m tests.support.processes.brief_bindings worker -Q maintenance …

Whoever consumes renews its bindings every second or so, where else it does so every twenty minutes.
"""

from __future__ import annotations

import sys

from kombu.transport import redis as kombu_redis

from worker.app import app

#: Seconds without a consumer after which a queue is gone; its binding is kept twice as long.
QUEUE_EXPIRES = 1.0

if __name__ == "__main__":
    kombu_redis.MIN_BINDING_TTL = 0  # type: ignore[attr-defined]
    app.conf.update(control_queue_expires=QUEUE_EXPIRES, event_queue_expires=QUEUE_EXPIRES)
    app.start(sys.argv[1:])
