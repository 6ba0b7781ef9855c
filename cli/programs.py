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
    return _python(
        *("-m", "worker.program", "worker"),
        *("-Q", ",".join(QUEUES[queue])),
        *("-n", f"{queue}@%h"),
        *("-l", settings.log_level),
        *("-c", str(concurrency or usual[queue])),
    )


def beat(settings: Settings) -> list[str]:
    """Return the command of beat."""
    return _python("-m", "worker.program", "beat", "-l", settings.log_level)


def flower() -> list[str]:
    """Return the command of Flower, which reads its login from the settings."""
    conf = ROOT / "flowerconfig.py"
    return _python("-m", "celery", "-A", "worker.app", "flower", f"--conf={conf}")


def _python(*arguments: str) -> list[str]:
    # -P: the current folder is no place to import from.
    return [sys.executable, "-P", *arguments]
