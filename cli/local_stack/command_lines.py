"""The command lines of worker, beat, Flower and the HTTP API."""

from __future__ import annotations

import secrets
import socket
import sys
from typing import TYPE_CHECKING

from cli.local_stack.environment import ROOT
from worker.broker.queues import MAINTENANCE_QUEUE, QUEUES
from worker.utf8_mode import UTF8

if TYPE_CHECKING:
    from settings import Settings

#: The module of Celery's programs, worker and beat.
_PROGRAM = "worker.celery_ext.main"
DOWNLOADS, MAINTENANCE = "downloads", MAINTENANCE_QUEUE


def supervisor() -> list[str]:
    """Return the command line of the supervisor of a stack on demand."""
    return _python("-m", "cli.local_stack.supervisor")


def worker(settings: Settings, queue: str, concurrency: int | None = None) -> list[str]:
    """Return the command line of a worker of one kind, DOWNLOADS or MAINTENANCE."""
    default = {
        DOWNLOADS: settings.download_concurrency,
        MAINTENANCE: settings.maintenance_concurrency,
    }
    return _python(
        *("-m", _PROGRAM, "worker"),
        *("-Q", ",".join(QUEUES[queue])),
        *("-n", node_name(queue)),
        *("-l", settings.log_level),
        *("-c", str(concurrency or default[queue])),
    )


def arguments_of_program(command: list[str]) -> list[str] | None:
    """Return the arguments of a command line of worker or beat; None for another program."""
    return command[command.index(_PROGRAM) + 1 :] if _PROGRAM in command else None


def node_name(queue: str) -> str:
    """Return a unique name for a worker; Celery replaces ``%h`` by the host name.

    Workers with the same name share a mailbox, and control commands reach only one of them. Host name
    and process id are not unique: containers may share the first, and each counts the second from 1.
    """
    return f"{queue}-{secrets.token_hex(4)}@%h"


def node_pattern(queue: str) -> str:
    """Return a glob for the names of workers of one kind on this machine."""
    return f"{queue}-*@{socket.gethostname()}"


def beat(settings: Settings) -> list[str]:
    """Return the command line of beat."""
    return _python("-m", _PROGRAM, "beat", "-l", settings.log_level)


def flower() -> list[str]:
    """Return the command line of Flower, whose config file reads the login from the settings."""
    conf = ROOT / "flowerconfig.py"
    return _python("-m", "celery", "-A", "worker.app", "flower", f"--conf={conf}")


def api() -> list[str]:
    """Return the command line of the HTTP API."""
    return _python("-m", "api.server")


def _python(*arguments: str) -> list[str]:
    # -P: do not import modules from the current folder.
    return [sys.executable, *UTF8, "-P", *arguments]
