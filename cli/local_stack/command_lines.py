"""The command lines of the long-running programs, the same by hand and in the local stack."""

from __future__ import annotations

import secrets
import socket
import sys

from cli.local_stack.environment import ROOT
from settings import Settings
from worker.broker.queues import DOWNLOAD_QUEUES, MAINTENANCE_QUEUE
from worker.utf8_mode import UTF8

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
        *("-m", "worker.celery_ext.main", "worker"),
        *("-Q", ",".join(QUEUES[queue])),
        *("-n", node_name(queue)),
        *("-l", settings.log_level),
        *("-c", str(concurrency or usual[queue])),
    )


def node_name(queue: str) -> str:
    """Return a new name for a worker; Celery puts the machine's name for ``%h``.

    Two workers of one name share a mailbox, and control commands reach one of them. Machine and process
    number do not tell workers apart: containers may share the one, and each counts the other from 1.
    """
    return f"{queue}-{secrets.token_hex(4)}@%h"


def node_pattern(queue: str) -> str:
    """Return the glob that the names of this machine's workers of one kind match."""
    return f"{queue}-*@{socket.gethostname()}"


def beat(settings: Settings) -> list[str]:
    """Return the command of beat."""
    return _python("-m", "worker.celery_ext.main", "beat", "-l", settings.log_level)


def flower() -> list[str]:
    """Return the command of Flower, which reads its login from the settings."""
    conf = ROOT / "flowerconfig.py"
    return _python("-m", "celery", "-A", "worker.app", "flower", f"--conf={conf}")


def _python(*arguments: str) -> list[str]:
    # -P: the current folder is no place to import from.
    return [sys.executable, *UTF8, "-P", *arguments]
