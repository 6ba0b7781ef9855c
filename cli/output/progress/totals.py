"""The sums over several jobs, and the lines that show them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from cli.output import formatting
from cli.output.job_text import is_receiving
from cli.output.text_width import width
from domain.job import JobStatus
from tasks.api.job_view import JobView

#: The words of the counts; a narrow terminal shows the first ones only.
_WORDS = (
    (frozenset({JobStatus.DOWNLOADING, JobStatus.VERIFYING}), "running"),
    (frozenset({JobStatus.QUEUED}), "queued"),
    (frozenset({JobStatus.FAILED}), "failed"),
    (frozenset({JobStatus.WAITING}), "waiting"),
    (frozenset({JobStatus.PAUSED}), "paused"),
    (frozenset({JobStatus.COMPLETED}), "completed"),
    (frozenset({JobStatus.CANCELLED}), "cancelled"),
)
#: The bytes of these jobs are not wanted any more.
_NOT_WANTED = frozenset({JobStatus.FAILED, JobStatus.CANCELLED})


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over jobs. Failed and cancelled ones count as jobs, not in bytes."""

    counts: Counter[JobStatus]
    done: int
    known: int
    """Bytes of the files whose size is known."""
    is_known: bool
    """Whether all sizes are known."""
    speed: float
    """Bytes a second."""
    to_come: int
    """Files that have no job yet."""

    @classmethod
    def of(cls, views: Sequence[JobView], to_come: int = 0) -> Totals:
        """Add up jobs."""
        wanted = [view for view in views if view.status not in _NOT_WANTED]
        sizes = [(view.progress.bytes_downloaded, view.progress.bytes_total) for view in wanted]
        return cls(
            counts=Counter(view.status for view in views),
            done=sum(done for done, _ in sizes),
            known=sum(done if total is None else total for done, total in sizes),
            is_known=not to_come and all(total is not None for _, total in sizes),
            speed=sum(view.progress.speed for view in wanted if is_receiving(view)),
            to_come=to_come,
        )

    @property
    def number(self) -> int:
        """How many files there are, with and without a job."""
        return self.counts.total() + self.to_come

    def __add__(self, other: Totals) -> Totals:
        return Totals(
            self.counts + other.counts,
            self.done + other.done,
            self.known + other.known,
            self.is_known and other.is_known,
            self.speed + other.speed,
            self.to_come + other.to_come,
        )

    def amount(self) -> str:
        """Return downloaded and total bytes: ``1.2 of 20.0 GB``, ``1.2 of over 3.4 GB``."""
        if self.is_known:
            return formatting.part_of(self.done, self.known)
        if self.known == self.done:
            return formatting.size(self.done)
        return formatting.part_of(self.done, self.known).replace(" of ", " of over ")

    def time_left(self) -> str:
        """Return the time left for all bytes of known size; empty where that says nothing."""
        if self.speed <= 0 or self.known <= self.done:
            return ""
        seconds = (self.known - self.done) / self.speed
        if self.is_known:
            return formatting.duration(seconds)
        return f"over {formatting.duration(seconds)}" if seconds >= 1 else ""


NOTHING = Totals.of(())


def count_texts(totals: Totals) -> list[str]:
    """Return the counts of jobs, ``3 running``, the important ones first."""
    numbers = [(sum(totals.counts[one] for one in states), word) for states, word in _WORDS]
    numbers.insert(2, (totals.to_come, "to come"))
    return [f"{number:,} {word}" for number, word in numbers if number]


def total_lines(totals: Totals, cells: int) -> list[str]:
    """Return the sums in one line, or in two where the terminal is narrow."""
    counts, left = count_texts(totals), totals.time_left()
    if not totals.known:
        return [_fitting(counts, cells)]  # no job has started
    speed = formatting.rate(totals.speed)
    numbers = [totals.amount(), speed, *([f"{left} left"] if left else [])]
    whole = ", ".join(counts) + "; " + ", ".join(numbers)
    if width(whole) <= cells:
        return [whole]
    by_value = [numbers, [totals.amount(), speed, left], [speed, left], [speed]]
    fitting = (", ".join(filter(None, some)) for some in by_value)
    return [
        _fitting(counts, cells),
        next((text for text in fitting if width(text) <= cells), speed),
    ]


def _fitting(texts: Sequence[str], cells: int) -> str:
    """Return as many of the first texts as fit into a line, at least one."""
    shown = list(texts)
    while len(shown) > 1 and width(", ".join(shown)) > cells:
        shown.pop()
    return ", ".join(shown)
