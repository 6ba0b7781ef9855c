"""The Celery state in which a message of downloads ends, for Flower, `celery events` and others.

A failed job ends its task as FAILURE, one that goes on with another message as RETRY. The exceptions
only name the state: the message was acknowledged before the task ran, and no setting lets Celery reject
it or send it again. The next message is always the project's own (`worker.publishing`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from billiard.einfo import ExceptionWithTraceback  # type: ignore[attr-defined]
from celery import states
from celery.exceptions import Ignore, Retry
from celery.worker import request

from worker.outcome import JobEnd, Outcome

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


#: From the state that matters least to the one that a message of several jobs ends in if one job does.
_WEIGHT = (states.SUCCESS, states.REVOKED, states.RETRY, states.FAILURE)


class DownloadNotCompletedError(Exception):
    """Ends a task in another state than SUCCESS.

    Attributes:
        state: of the task.
        text: how the jobs ended, and why.
    """

    def __init__(self, state: str, text: str) -> None:
        super().__init__(state, text)  # a child of a pool pickles both
        self.state, self.text = state, text

    def __str__(self) -> str:
        return self.text

    __repr__ = __str__  # what Celery puts into its events


def end_task(ends: Sequence[JobEnd]) -> str:
    """Return the result of a message whose jobs are completed; else raise what its state needs.

    Of several jobs, one that failed makes the task FAILURE; else one that goes on with another message
    makes it RETRY; else one that was stopped makes it REVOKED.

    Raises:
        DownloadNotCompletedError: FAILURE.
        Retry: RETRY; Celery publishes nothing.
        Ignore: REVOKED, by the event that `Request` sends.
    """
    first = max(ends, key=_weight)  # the first of the weightiest
    state, text = STATES[first.outcome], _text(ends, first)
    match state:
        case states.SUCCESS:
            return text
        case states.FAILURE:
            raise DownloadNotCompletedError(state, text)
        case states.RETRY:
            raise Retry(exc=DownloadNotCompletedError(state, text))
        case _:
            raise Ignore(DownloadNotCompletedError(state, text))


def _weight(end: JobEnd) -> tuple[int, bool]:
    return _WEIGHT.index(STATES[end.outcome]), bool(end.reason)


def _text(ends: Sequence[JobEnd], first: JobEnd) -> str:
    """Return the outcome of one job, or how many have which, with the reason of `first`."""
    if len(ends) == 1:
        summary = str(first.outcome)
    else:
        counts = Counter(end.outcome for end in ends)
        # The outcome that the reason belongs to comes last.
        listed = sorted(counts, key=lambda one: (_WEIGHT.index(STATES[one]), one == first.outcome))
        summary = ", ".join(f"{counts[outcome]} {outcome}" for outcome in listed)
    return f"{summary}: {first.reason}" if first.reason else summary


_CeleryRequest: Any = request.Request  # its stub lacks what a subclass may do


class Request(_CeleryRequest):  # type: ignore[misc]
    """A message of downloads in the worker. Its events have no traceback of an expected end."""

    def on_failure(self, exc_info: Any, *args: Any, **kwargs: Any) -> None:
        """Send the event of a task that raised. Called for every exception, also of another process."""
        raised = exc_info.exception
        if isinstance(raised, ExceptionWithTraceback):
            raised = raised.exc
        error = _expected(raised)
        if error is not None:
            exc_info.exception, exc_info.traceback = raised, ""
        super().on_failure(exc_info, *args, **kwargs)
        if error is not None and error.state == states.REVOKED:
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
