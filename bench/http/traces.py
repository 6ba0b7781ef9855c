"""Reads what Chromium has traced of a page."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

#: What has to be traced, and nothing else.
CATEGORIES = ("-*", "devtools.timeline", "disabled-by-default-devtools.timeline")


def main_thread_milliseconds(trace: bytes) -> list[float]:
    """Return the processor time of the main thread of the page with most frames, by frame.

    Args:
        trace: of `CATEGORIES`.
    """
    events: list[dict[str, Any]] = json.loads(trace)["traceEvents"]
    frames: dict[tuple[int, int], list[int]] = defaultdict(list)
    for event in events:
        if event["name"] == "AnimationFrame" and event["ph"] == "b":
            frames[_thread(event)].append(event["ts"])
    thread = max(frames, key=lambda one: len(frames[one]))
    tasks = sorted(_tasks(events, thread))
    return list(_by_frame(sorted(frames[thread]), tasks))


def _tasks(events: list[dict[str, Any]], thread: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """Yield start and processor time of each task, in microseconds."""
    for event in events:
        if event["name"] == "RunTask" and _thread(event) == thread:
            yield event["ts"], event.get("tdur", event.get("dur", 0))


def _by_frame(starts: list[int], tasks: list[tuple[int, int]]) -> Iterator[float]:
    """Yield the milliseconds of tasks between two starts of frames."""
    rest = iter(tasks)
    task = next(rest, None)
    for start, end in pairwise(starts):
        spent = 0
        while task is not None and task[0] < end:
            spent += task[1] if task[0] >= start else 0
            task = next(rest, None)
        yield spent / 1000


def _thread(event: dict[str, Any]) -> tuple[int, int]:
    return event["pid"], event["tid"]
