"""Show the jobs of `seen get` until each has ended, and pause them on Ctrl-C."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from cli.following.start_check import StartCheck
from domain.errors import OutputError
from worker.process import standard_streams

if TYPE_CHECKING:
    from cli.following.batch import Batch
    from cli.following.timeout import GetTimeout
    from cli.local_stack.client import StackClient
    from cli.output.display import Display
    from tasks.api.job_view import JobView

_POLL = 0.2
#: How long to wait for jobs to pause: a worker needs a second, longer while the store is unavailable.
_PAUSE_TIMEOUT = 10.0


def follow(
    batch: Batch, display: Display, stack: StackClient | None, timeout: GetTimeout
) -> tuple[bool, dict[str, str]]:
    """Show the jobs until each is finished, paused, or given up.

    Returns whether Ctrl-C ended it, and for the ids of jobs that were given up the reason.
    """
    start_check = StartCheck(display, stack)
    given_up: dict[str, str] = {}
    given_up_at = 0.0
    try:
        while True:
            views = batch.read()
            display.show(views)
            # A job that was given up is paused soon, or keeps running for another command.
            followed = [view for view in views if view.job.id not in given_up]
            is_pause_over = time.monotonic() - given_up_at > _PAUSE_TIMEOUT
            if _all_idle(views) or (given_up and is_pause_over and _all_idle(followed)):
                return False, given_up
            for job_id, why in timeout.exceeded(followed).items():
                given_up[job_id], given_up_at = why, time.monotonic()
                batch.give_up(job_id)
            start_check.run(views)
            time.sleep(_POLL)
    except KeyboardInterrupt:
        _pause(batch, display)
        return True, {}


def _pause(batch: Batch, display: Display) -> None:
    """Pause the jobs and wait until they are; a second Ctrl-C leaves at once."""
    batch.pause()
    end = time.monotonic() + _PAUSE_TIMEOUT
    while not _all_idle(views := batch.read()) and time.monotonic() < end:
        time.sleep(_POLL / 4)
    display.show(views)


def pause_unseen(batch: Batch, error: OutputError) -> OutputError:
    """Pause the jobs whose progress cannot be printed; return the error with that effect."""
    standard_streams.flush_or_discard_output()
    if all(view.is_finished for view in batch.read()):
        return error
    batch.pause()
    effect = "The downloads are paused; the same command continues where it stopped."
    return OutputError(error.error, effect)


def _all_idle(views: list[JobView]) -> bool:
    return all(view.is_idle for view in views)
