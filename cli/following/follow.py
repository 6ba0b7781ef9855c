"""Show the jobs of `seen get` until each has ended, and pause them on Ctrl-C."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cli.following.start_check import StartCheck
from cli.output.resume_command import how_to_continue
from cli.signals import AnsweredInterrupt, SecondInterrupt
from domain.errors import OutputError
from worker.process import standard_streams

if TYPE_CHECKING:
    from cli.following.batch import Batch
    from cli.following.timeout import GetTimeout
    from cli.local_stack.client import StackClient
    from cli.output.display import Display
    from cli.output.progress.summary import Summary
    from tasks.api.job_view import JobView

_POLL = 0.2
#: Where a job that ends makes room for the next one.
_SHORT_POLL = 0.02
#: A small file is soon there: the first reads come after a short poll, the next ones after this share of
#: the time since the start.
_POLL_SHARE = 0.1
#: Reading many jobs may take long; it may use this share of one processor.
_MAX_LOAD = 0.2
#: How long to wait for jobs to pause: a worker needs a second, longer while the store is unavailable.
_PAUSE_TIMEOUT = 10.0
_PAUSING = "pausing … (Ctrl-C again leaves at once)"


@dataclass
class Followed:
    """How it ended.

    Attributes:
        interrupted: Ctrl-C ended it before the jobs had finished.
        given_up: for the ids of jobs that were given up the reason.
    """

    interrupted: bool = False
    given_up: dict[str, str] = field(default_factory=dict)


def follow(
    batch: Batch,
    display: Display,
    stack: StackClient | None,
    timeout: GetTimeout,
    summary: Summary,
) -> Followed:
    """Submit the jobs and show them until each is finished, paused, or given up.

    A second Ctrl-C raises AnsweredInterrupt before the jobs are paused.
    """
    start_check = StartCheck(display, stack)
    followed = Followed()
    begin = time.monotonic()
    given_up_at = 0.0
    try:
        batch.submit(stack, lambda: display.status(_PAUSING))
        while True:
            started = time.monotonic()
            if timeout.is_over:
                batch.submit_no_more()
            views = _read_and_show(batch, display, summary)
            # A job that was given up is paused soon, or keeps running for another command.
            others = [view for view in views if view.job.id not in followed.given_up]
            is_pause_over = time.monotonic() - given_up_at > _PAUSE_TIMEOUT
            if _all_idle(views) or (followed.given_up and is_pause_over and _all_idle(others)):
                return followed
            exceeded = timeout.exceeded(others)
            if exceeded:
                given_up_at = time.monotonic()
                _give_up(batch, display, others, exceeded)
                followed.given_up |= exceeded
            start_check.run(views, batch)
            least = _SHORT_POLL if batch.is_short_of_jobs else _poll(started - begin)
            time.sleep(pause_between_reads(time.monotonic() - started, least))
    except SecondInterrupt:
        raise _leave(display) from None
    except KeyboardInterrupt:
        followed.interrupted = _pause(batch, display, summary)
        return followed


def _read_and_show(batch: Batch, display: Display, summary: Summary) -> Sequence[JobView]:
    views = batch.read()
    for text in batch.take_notes():
        display.note(text)
    summary.add(views)
    display.show(views, batch.unsubmitted, batch.ended)
    return views


def pause_between_reads(seconds: float, least: float = _POLL) -> float:
    """Return the pause after a read that took `seconds`, so that following costs little."""
    return max(least, seconds / _MAX_LOAD)


def _poll(seconds: float) -> float:
    """Return the pause between two reads so many seconds after the first one."""
    return min(_POLL, max(_SHORT_POLL, seconds * _POLL_SHARE))


def _give_up(batch: Batch, display: Display, views: list[JobView], reasons: dict[str, str]) -> None:
    for view in views:
        why = reasons.get(view.job.id)
        if why is not None:
            display.fail(f"{view.label}: given up: {why}")
    batch.give_up(list(reasons))


def _pause(batch: Batch, display: Display, summary: Summary) -> bool:
    """Pause the jobs; return whether one is not finished. A second Ctrl-C leaves at once."""
    try:
        display.status(_PAUSING)
        batch.pause()
        views = _wait_until_idle(batch, display, summary)
    except KeyboardInterrupt:
        raise _leave(display) from None
    are_finished = all(view.is_finished for view in views)
    return not are_finished or batch.unsubmitted > 0 or batch.left > 0


def _leave(display: Display) -> AnsweredInterrupt:
    """Say that jobs may run on, and return the interrupt to raise."""
    display.status("")
    display.fail("left at once: downloads may still run. `seen list` shows them.")
    return AnsweredInterrupt()


def _wait_until_idle(batch: Batch, display: Display, summary: Summary) -> Sequence[JobView]:
    """Show the jobs until they are paused or finished, or the time for that is over."""
    end = time.monotonic() + _PAUSE_TIMEOUT
    while True:
        started = time.monotonic()
        views = _read_and_show(batch, display, summary)
        if _all_idle(views) or started > end:
            return views
        time.sleep(max(_POLL / 4, pause_between_reads(time.monotonic() - started) - _POLL))


def pause_unseen(batch: Batch, error: OutputError) -> OutputError:
    """Pause the jobs whose progress cannot be printed; return the error with that effect."""
    standard_streams.flush_or_discard_output()
    views = batch.read()
    if all(view.is_finished for view in views):
        return error
    batch.pause()
    return OutputError(error.error, f"The downloads are paused. {how_to_continue(batch.typed())}")


def _all_idle(views: Sequence[JobView]) -> bool:
    return all(view.is_idle for view in views)
