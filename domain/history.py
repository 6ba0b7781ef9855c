"""The words of a job's history: why it stop_reason, and what became of its bytes."""

from __future__ import annotations

import re

from domain.job import JobStatus

#: Why maintenance published a queued job's message.
NO_MESSAGE = "it had no message; it was published"
LOST_MESSAGE = "its message was lost; it was published again"

_TIMES = re.compile(r"; (\d+) times in a row$")


def requested(word: str) -> str:
    """Return the reason of a job that was stop_reason because a person asked for it."""
    return f"{word} requested"


def finish_reason(
    status: JobStatus,
    *,
    reason: str | None,
    there: int,
    kept: int,
    sha256: str | None = None,
    verification: str | None = None,
) -> str | None:
    """Return what is said of an attempt that left its job in a state.

    Args:
        status: the state.
        reason: why.
        there: bytes that were there at its end.
        kept: those that the next attempt may go on from.
        sha256: of a complete file.
        verification: what spoke for it.
    """
    if status is not JobStatus.COMPLETED:
        return stop_reason(reason, there, kept)
    what = f"{there:,} bytes, sha256 {sha256}"
    return f"{what}; {verification}" if verification else what


def stop_reason(reason: str | None, there: int, kept: int) -> str | None:
    """Return why a job stop_reason, and how many of the bytes that were there are kept."""
    lost = max(0, there - kept)
    parts = [reason or ""]
    parts += [f"{kept:,} bytes are kept"] if kept else []
    parts += [f"{lost:,} bytes are thrown away"] if lost else []
    return "; ".join(part.removesuffix(".") for part in parts if part) or None


def with_repetitions(text: str, times: int) -> str:
    """Return what is said of a job that stop_reason `times` times in a row for one reason."""
    return f"{text}; {times} times in a row"


def repetitions_of(text: str | None) -> int:
    """Return how many claims an event stands for, by its text."""
    found = _TIMES.search(text or "")
    return int(found[1]) if found else 1


def gives_reason(text: str | None, reason: str) -> bool:
    """Say whether an event's text gives this reason, whatever it says of bytes and repetitions."""
    why = reason.removesuffix(".")
    return text is not None and (text == why or text.startswith(f"{why}; "))
