"""What a job's history may look like, for every check that reads one."""

from __future__ import annotations

from domain.history import repetitions_of
from domain.job import RUNNING, JobEvent, JobStatus


def claims_in(event: JobEvent) -> int:
    """Return by how much an event raises the fence: a claim by one, a hand-back by those it repeats.

    A hand-back that stands for seven claims follows the first of them, so it brings six more.
    """
    if event.from_status is event.to_status:
        return 0
    if event.to_status is JobStatus.DOWNLOADING:
        return 1
    is_hand_back = event.from_status in RUNNING and event.to_status is JobStatus.QUEUED
    return repetitions_of(event.reason) - 1 if is_hand_back else 0
