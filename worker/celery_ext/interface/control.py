"""Celery's remote control: it sends no command that workers would refuse, and says why."""

from __future__ import annotations

from typing import Any

from celery.app import control as celery_control

from domain.errors import MessageRefusedError
from worker.broker.control_messages import check_command
from worker.broker.envelope import InvalidMessageError
from worker.broker.queues import DOWNLOAD_QUEUES, MAINTENANCE_QUEUE
from worker.celery_ext.command_line import errors_as_usage, is_flower
from worker.celery_ext.interface.control_commands import INSTEAD

_Control: Any = celery_control.Control  # celery has no types for what is overridden here


class Control(_Control):  # type: ignore[misc]
    """`app.control`. `celery control`, `celery inspect` and its methods all end in `broadcast`."""

    def broadcast(
        self, command: str, arguments: Any = None, *rest: Any, **options: Any
    ) -> list[Any] | None:
        """Send a command to workers, and return their replies where `reply=True`.

        Raises:
            MessageRefusedError: workers would refuse the command; it is not sent.
        """
        if (
            not is_flower()
        ):  # which shows a missing reply as such, and an error as a fault of its own
            with errors_as_usage():
                _check(command, dict(arguments or {}))
        replies: list[Any] | None = super().broadcast(command, arguments, *rest, **options)
        return replies


def _check(command: str, arguments: dict[str, Any]) -> None:
    try:
        check_command(command, arguments)
    except InvalidMessageError as error:
        reason = INSTEAD.get(command) or f"{_capitalized(str(error))}.{_queues(command)}"
        raise MessageRefusedError(f"{reason} No command was sent.") from None


def _capitalized(text: str) -> str:
    return text[:1].upper() + text[1:]


def _queues(command: str) -> str:
    """Return the sentence that names the queues, for a command that takes one."""
    if command not in ("add_consumer", "cancel_consumer"):
        return ""
    return f" The queues are {', '.join((*DOWNLOAD_QUEUES, MAINTENANCE_QUEUE))}."
