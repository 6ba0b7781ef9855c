"""The Celery state in which a message of a download ends, for Flower, `celery events` and others.

A failed job ends its task as FAILURE, one that goes on with another message as RETRY. The exceptions
only name the state: the message was acknowledged before the task ran, and no setting lets Celery reject
it or send it again. The next message is always the project's own (`worker.publishing`).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from billiard.einfo import ExceptionWithTraceback  # type: ignore[attr-defined]
from celery import states
from celery.exceptions import Ignore, Retry
from celery.worker import request

from worker.outcome import Outcome

#: The state of the task by the outcome of its message.
STATES: Mapping[Outcome, str] = MappingProxyType(
    {
        Outcome.COMPLETED: states.SUCCESS,
        Outcome.FAILED: states.FAILURE,
        # The job goes on with another message.
        Outcome.WAITING: states.RETRY,
        Outcome.REQUEUED: states.RETRY,
        Outcome.PUT_BACK: states.RETRY,
        Outcome.NOT_STARTED: states.RETRY,
        Outcome.UNSAVED: states.RETRY,
        Outcome.FENCED: states.RETRY,
        # A person stopped the job, or the message had nothing to run.
        Outcome.PAUSED: states.REVOKED,
        Outcome.CANCELLED: states.REVOKED,
        Outcome.ALREADY_RUNNING: states.REVOKED,
        Outcome.NOT_QUEUED: states.REVOKED,
    }
)


class DownloadNotCompletedError(Exception):
    """Ends a task in another state than SUCCESS.

    Attributes:
        outcome: of the message.
        reason: of the job, as SQL has it; empty without one.
    """

    def __init__(self, outcome: Outcome, reason: str = "") -> None:
        super().__init__(outcome, reason)  # a child of a pool pickles both
        self.outcome, self.reason = outcome, reason

    def __str__(self) -> str:
        return f"{self.outcome}: {self.reason}" if self.reason else str(self.outcome)

    __repr__ = __str__  # what Celery puts into its events


def end_task(outcome: Outcome, reason: str) -> str:
    """Return the result of a completed download; raise what ends the task in the state of `STATES`.

    Raises:
        DownloadNotCompletedError: FAILURE.
        Retry: RETRY; Celery publishes nothing.
        Ignore: REVOKED, by the event that `Request` sends.
    """
    error = DownloadNotCompletedError(outcome, reason)
    match STATES[outcome]:
        case states.SUCCESS:
            return str(outcome)
        case states.FAILURE:
            raise error
        case states.RETRY:
            raise Retry(exc=error)
        case _:
            raise Ignore(error)


_CeleryRequest: Any = request.Request  # its stub lacks what a subclass may do


class Request(_CeleryRequest):  # type: ignore[misc]
    """A message of a download in the worker. Its events have no traceback of an expected end."""

    def on_failure(self, exc_info: Any, *args: Any, **kwargs: Any) -> None:
        """Send the event of a task that raised. Called for every exception, also of another process."""
        raised = exc_info.exception
        if isinstance(raised, ExceptionWithTraceback):
            raised = raised.exc
        error = _expected(raised)
        if error is not None:
            exc_info.exception, exc_info.traceback = raised, ""
        super().on_failure(exc_info, *args, **kwargs)
        if error is not None and STATES[error.outcome] == states.REVOKED:
            # Celery sends none for an ignored task, which monitors would show as running for ever.
            self.send_event(
                "task-revoked", terminated=False, signum=None, expired=False, result=str(error)
            )


def _expected(raised: Any) -> DownloadNotCompletedError | None:
    """Return the error in what a task raised; None for all that `end_task` does not raise."""
    match raised:
        case Retry():
            raised = raised.exc
        case Ignore(args=(error, *_)):
            raised = error
    return raised if isinstance(raised, DownloadNotCompletedError) else None
