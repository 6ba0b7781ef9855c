"""Remote control commands that would mislead here: each is answered with what to use instead."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from celery.worker.control import Panel

_CANCEL = (
    "A message only says that a job may be ready, and one that is dropped is published again. "
    "`seen cancel JOB` or `seen pause JOB` stops a job."
)
#: The answer to each command that has no use here.
INSTEAD: Mapping[str, str] = MappingProxyType(
    {
        "revoke": _CANCEL,
        "terminate": _CANCEL,
        # The worker would take every message of its queues, and hold it where no other worker sees it.
        "rate_limit": (
            "`seen limit` limits the bytes a second of a job, a host or all downloads; "
            "SEEN_DOWNLOAD_CONCURRENCY limits the downloads at once."
        ),
        # A thread cannot be interrupted, and a killed process would have its job requeued.
        "time_limit": (
            "Tasks have no time limit. SEEN_LOW_SPEED_TIME ends a transfer that makes no progress, "
            "and `seen cancel JOB` stops a job."
        ),
    }
)


def install() -> None:
    """Replace the commands in this process."""
    for name, sentence in INSTEAD.items():
        Panel.data[name] = _answer(sentence)


def _answer(sentence: str) -> Any:
    return lambda _state, **_arguments: {"error": sentence}
