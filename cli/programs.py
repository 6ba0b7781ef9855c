"""The command lines of the long-running programs, the same by hand and in the local stack."""

from __future__ import annotations

import sys

from cli.environment import ROOT
from settings import Settings
from worker.queues import DOWNLOAD_QUEUES, MAINTENANCE_QUEUE

DOWNLOADS, MAINTENANCE = "downloads", MAINTENANCE_QUEUE
#: What a worker of each kind consumes from.
QUEUES = {DOWNLOADS: DOWNLOAD_QUEUES, MAINTENANCE: (MAINTENANCE_QUEUE,)}


def worker(settings: Settings, queue: str, concurrency: int | None = None) -> list[str]:
    """Return the command of a worker of one kind: DOWNLOADS or MAINTENANCE."""
    usual = {
        DOWNLOADS: settings.download_concurrency,
        MAINTENANCE: settings.maintenance_concurrency,
    }
    return _celery(
        "worker",
        *("-Q", ",".join(QUEUES[queue])),
        *("-n", f"{queue}@%h"),
        "--without-gossip",
        "--without-mingle",
        *("-l", settings.log_level),
        *("-c", str(concurrency or usual[queue])),
    )


def beat(settings: Settings) -> list[str]:
    """Return the command of beat."""
    # No pid file: it would lie in the current folder and outlive a crash.
    return _celery("beat", "-l", settings.log_level, "--pidfile=")


def flower() -> list[str]:
    """Return the command of Flower, which reads its login from the settings."""
    return _celery("flower", f"--conf={ROOT / 'flowerconfig.py'}")


def _celery(*arguments: str) -> list[str]:
    # -P: the current folder is no place to import from.
    return [sys.executable, "-P", "-m", "celery", "-A", "worker.app", *arguments]
