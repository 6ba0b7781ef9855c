"""Show jobs until all have finished, and do what the keys request."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cli.following.follow import pause_between_reads
from cli.following.job_poll import JobPoll
from cli.output.progress.live_display import LiveDisplay
from cli.output.progress.summary import Summary
from cli.watching.controls import Controls, JobRequest
from domain.errors import SeenError
from domain.job import JobStatus

if TYPE_CHECKING:
    from cli.output.display import Display
    from cli.watching.keyboard import Keyboard
    from tasks.api.job_view import JobReader, JobView

LEFT = "Stopped watching; the downloads go on."


def watch_jobs(
    reader: JobReader, job_ids: Sequence[str], display: Display, keyboard: Keyboard
) -> bool:
    """Show jobs until all have finished; return whether one has failed.

    On a terminal keys choose rows, change jobs, and end the watch.
    """
    if keyboard.exists and isinstance(display, LiveDisplay):
        return _KeyedWatch(reader, job_ids, display, keyboard).run()
    return _Watch(reader, job_ids, display).run()


class _Watch:
    """Jobs that are shown until all have finished.

    Args:
        reader: of the jobs.
        job_ids: which ones.
        display: where they are shown.
    """

    def __init__(self, reader: JobReader, job_ids: Sequence[str], display: Display) -> None:
        self._has_failed = False
        self._reader = reader
        self._poll = JobPoll(reader, job_ids)
        self._display = display
        self._summary = Summary({})
        self._is_warned = False

    def run(self) -> bool:
        """Show the jobs until all have finished or a person leaves; return whether one has failed."""
        while not self._has_left:
            started = time.monotonic()
            views = self._read()
            if all(view.is_finished for view in views):
                self._display.end(self._summary.text(self._poll.totals))
                return self._has_failed
            self._wait(pause_between_reads(time.monotonic() - started))
        self._display.end(LEFT)
        return self._has_failed

    @property
    def _has_left(self) -> bool:
        return False

    def _wait(self, seconds: float) -> None:
        time.sleep(seconds)

    def _read(self) -> Sequence[JobView]:
        views = self._poll.read()
        self._summary.add(views)
        self._display.show(views, ended=self._poll.ended)
        self._has_failed |= any(view.status is JobStatus.FAILED for view in views)
        error = self._reader.store_error
        if error is not None and not self._is_warned:
            self._is_warned = True
            self._display.note(f"{error} Progress is shown when the store is available again.")
        return views


class _KeyedWatch(_Watch):
    """A watch on a terminal: keys mark, pause, resume and cancel jobs, sort and filter the rows.

    Args:
        reader: of the jobs.
        job_ids: which ones.
        display: rows of a terminal.
        keyboard: of the same terminal.
    """

    def __init__(
        self, reader: JobReader, job_ids: Sequence[str], display: LiveDisplay, keyboard: Keyboard
    ) -> None:
        super().__init__(reader, job_ids, display)
        self._rows = display
        self._keyboard = keyboard
        self._controls = Controls()
        self._rows.choose(self._controls.choice, self._controls.status)

    def _wait(self, seconds: float) -> None:
        """Take keys for so many seconds; a request for a job ends that."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            for key in self._keyboard.keys(left):
                request = self._controls.press(key, self._poll.views)
                if self._has_left:
                    return
                self._rows.choose(self._controls.choice, self._controls.status)
                if request is not None:
                    self._act(request)
                    return

    @property
    def _has_left(self) -> bool:
        return self._controls.has_left

    def _act(self, request: JobRequest) -> None:
        from cli.context import open_runtime  # loads Celery, which watching does not need

        runtime = open_runtime()
        import tasks

        try:
            result = tasks.control_many(request.action, [request.job_id], runtime=runtime)
        except SeenError as error:
            self._display.fail(str(error))
            return
        for refusal in result.refused:
            self._display.fail(str(refusal))
