"""Sets single byte counts of a tracked download."""

from __future__ import annotations

from dataclasses import replace

from worker.progress.reporter import DownloadTracker


def set_counts(tracker: DownloadTracker, **counts: int | None) -> None:
    """Report new counts as a transfer does; those not named stay."""
    tracker.update(replace(tracker.counts, **counts))  # type: ignore[arg-type]
