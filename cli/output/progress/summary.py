"""The end line of a command that followed jobs: how much, in what time, how fast."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from cli.output import formatting
from cli.output.progress.totals import Totals
from domain.job import JobStatus
from tasks.api.job_view import JobView

#: Other states of jobs than completed, in the order in which they are counted.
_OTHERS = (JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.PAUSED)


class Summary:
    """Adds up what arrives while a command runs.

    Args:
        stored: bytes that jobs had when this command submitted them, by id; more jobs may be added. The
            others count from their first view.
        clock: monotonic seconds.
    """

    def __init__(
        self, stored: Mapping[str, int], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._start = clock()
        self._stored = stored
        self._counts: dict[str, int] = {}
        self._received = 0

    def add(self, views: Sequence[JobView]) -> None:
        """Count the bytes that have arrived since the last call."""
        for view in views:
            count = view.progress.bytes_downloaded
            job_id = view.job.id
            before = self._counts.get(job_id, self._stored.get(job_id, count))
            self._received += count - before if count >= before else count
            self._counts[job_id] = count

    def text(self, totals: Totals) -> str:
        """Return the end line, ``2 files, 1.2 GB in 42 s, on average 28.6 MB/s``; maybe empty.

        Args:
            totals: the sums over all jobs.
        """
        counts, number = totals.counts, totals.number
        completed = counts[JobStatus.COMPLETED]
        others = [f"{counts[one]:,} {one.value}" for one in _OTHERS if counts[one]]
        if totals.to_come:
            others.append(f"{totals.to_come:,} not started")
        if number == 1 and not completed and not self._received:
            return ""  # the line about the job says all
        files = formatting.count(number, "file")
        if completed < number:
            files = f"{completed:,} of {files}"
        return "; ".join(
            [files + self._amount(totals.done), *([", ".join(others)] if others else [])]
        )

    def _amount(self, total: int) -> str:
        """Return bytes, time and speed; bytes of earlier attempts are not in the speed."""
        seconds = max(self._clock() - self._start, 0.001)
        if not total:
            return f" in {formatting.elapsed(seconds)}"
        speed = formatting.rate(self._received / seconds)
        took = f"in {formatting.elapsed(seconds)}, on average {speed}"
        if self._received >= total:
            return f", {formatting.size(total)} {took}"
        now = formatting.size(self._received)
        return f", {formatting.size(total)}, {now} of them {took}"
