"""The names that ``-Q`` and ``-X`` of ``celery worker`` take."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from celery.app import amqp

from domain.errors import InvalidInputError
from worker.broker.queues import DOWNLOAD_QUEUES, MAINTENANCE_QUEUE, REQUEUED_QUEUES
from worker.celery_ext.command_line import errors_as_usage

#: Names that stand for several queues. The queue of requeued jobs has two names, and both are consumed.
_SEVERAL = {"downloads": DOWNLOAD_QUEUES, **dict.fromkeys(REQUEUED_QUEUES, REQUEUED_QUEUES)}

_Queues: Any = amqp.Queues
_AMQP: Any = amqp.AMQP


class Queues(_Queues):  # type: ignore[misc]
    """Celery's queues, which can be chosen by the name ``downloads`` as well."""

    def select(self, include: Any) -> None:
        """Consume these queues; all without any."""
        super().select(expanded(include))

    def deselect(self, exclude: Any) -> None:
        """Do not consume these queues."""
        super().deselect(expanded(exclude))


class AMQP(_AMQP):  # type: ignore[misc]
    """Makes the app's queues of the class above."""

    queues_cls = Queues


def expanded(names: str | Iterable[str] | None) -> list[str]:
    """Return the queues that these names stand for.

    Raises:
        InvalidInputError: one of them is the name of no queue.
    """
    if not names:
        return []
    listed = names.split(",") if isinstance(names, str) else names
    return [queue for name in listed for queue in _queues(name)]


def _queues(name: str) -> tuple[str, ...]:
    if name in _SEVERAL:
        return _SEVERAL[name]
    if name not in (*DOWNLOAD_QUEUES, MAINTENANCE_QUEUE):
        known = ", ".join(("downloads (all of the following)", *DOWNLOAD_QUEUES))
        with errors_as_usage():
            raise InvalidInputError("queue", name, f"There are {known}, and {MAINTENANCE_QUEUE}.")
    return (name,)
