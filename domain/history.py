"""The texts of a job's history: why the job stopped, and which of its bytes are kept."""

from __future__ import annotations

import re

from domain.byte_counts import ByteCounts
from domain.job import JobStatus

#: Notes on a queued job whose message maintenance has published.
NO_MESSAGE = "it had no message; it was published"
LOST_MESSAGE = "its message was lost; it was published again"
MESSAGE_NOTES = (NO_MESSAGE, LOST_MESSAGE)

_TIMES = re.compile(r"; (\d+) times in a row$")


def requested(control: str) -> str:
    """Return the reason of a job that was stopped by a control request."""
    return f"{control} requested"


def finish_reason(
    status: JobStatus,
    counts: ByteCounts,
    *,
    reason: str | None,
    sha256: str | None = None,
    verification: str | None = None,
) -> str | None:
    """Return the event's text for an attempt that has ended.

    Args:
        status: the state in which the attempt leaves the job.
        counts: of the part file at the end of the attempt.
        reason: of that state.
        sha256: of a complete file.
        verification: what a complete file was compared with.
    """
    if status is not JobStatus.COMPLETED:
        return stop_reason(reason, counts)
    what = f"{counts.downloaded:,} bytes, sha256 {sha256}"
    return f"{what}; {verification}" if verification else what


def stop_reason(reason: str | None, counts: ByteCounts) -> str | None:
    """Return why a job stopped, and how many of its bytes the next attempt can resume from."""
    discarded = max(0, counts.downloaded - counts.durable)
    parts = [reason or ""]
    parts += [f"{counts.durable:,} bytes are kept"] if counts.durable else []
    parts += [f"{discarded:,} bytes are discarded"] if discarded else []
    return "; ".join(part.removesuffix(".") for part in parts if part) or None


def with_repetitions(text: str, times: int) -> str:
    """Return the text of an event that stands for `times` claims in a row."""
    return f"{text}; {times} times in a row"


def repetitions_of(text: str | None) -> int:
    """Return the number of claims that an event stands for, by its text."""
    found = _TIMES.search(text or "")
    return int(found[1]) if found else 1


def gives_reason(text: str | None, reason: str) -> bool:
    """Return whether an event's text gives this reason, whatever follows on bytes and repetitions."""
    why = reason.removesuffix(".")
    return text is not None and (text == why or text.startswith(f"{why}; "))
