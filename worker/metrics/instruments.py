"""Counts what happens in one process, for about a microsecond each time."""

from __future__ import annotations

import json
import threading
import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable

from worker.metrics.metric import Metric

#: The name of a metric, and the values of its labels.
Series = tuple[str, tuple[str, ...]]


class Instruments:
    """The counts and gauges of a process. Any thread may call the methods."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._counts: defaultdict[Series, float] = defaultdict(float)
        #: Of a histogram: how many values each bucket has, and at the end their sum.
        self._observed: dict[Series, tuple[Metric, list[float]]] = {}
        self._happened: dict[Series, float] = {}
        self._gauges: dict[Series, Callable[[], float]] = {}

    def count(self, metric: Metric, *labels: str, by: float = 1) -> None:
        """Add to a counter."""
        with self._mutex:
            self._counts[metric.name, labels] += by

    def observe(self, metric: Metric, value: float, *labels: str) -> None:
        """Add a value to a histogram."""
        bucket, series = bisect_left(metric.buckets, value), (metric.name, labels)
        with self._mutex:
            found = self._observed.get(series)
            if found is None:
                found = self._observed[series] = metric, [0.0] * (len(metric.buckets) + 2)
            values = found[1]
            values[bucket] += 1
            values[-1] += value

    def timed(self, metric: Metric, *labels: str) -> Timer:
        """Return what adds the time of a block to a histogram, however the block ends."""
        return Timer(self, metric, labels)

    def happened(self, metric: Metric, *labels: str) -> None:
        """Note that something has happened now."""
        with self._mutex:
            self._happened[metric.name, labels] = time.monotonic()

    def set_gauge(self, metric: Metric, *labels: str, read: Callable[[], float]) -> None:
        """Have a gauge read whenever the metrics are published."""
        with self._mutex:
            self._gauges[metric.name, labels] = read

    # ── publishing ──────────────────────────────────────────────────────────────────────────────

    def take(self) -> dict[str, float]:
        """Return what was counted since the last call, by series."""
        with self._mutex:
            counts, self._counts = self._counts, defaultdict(float)
            observed, self._observed = self._observed, {}
        taken = {encode(name, *labels): value for (name, labels), value in counts.items()}
        for (name, labels), (metric, values) in observed.items():
            for part, value in zip((*metric.bounds, "sum"), values, strict=True):
                if value:
                    taken[encode(name, *labels, part)] = value
        return taken

    def ages(self) -> dict[str, float]:
        """Return the seconds since what has happened did so last, by series."""
        with self._mutex:
            happened = list(self._happened.items())
        now = time.monotonic()
        return {encode(name, *labels): now - at for (name, labels), at in happened}

    def gauges(self) -> str:
        """Return all gauges, as `read_gauges` takes them."""
        with self._mutex:
            readers = list(self._gauges.items())
        return json.dumps(
            [[encode(name, *labels), float(read())] for (name, labels), read in readers]
        )


class Timer:
    """Adds the time of a ``with`` block to a histogram."""

    __slots__ = ("_began", "_instruments", "_labels", "_metric")

    def __init__(self, instruments: Instruments, metric: Metric, labels: tuple[str, ...]) -> None:
        self._instruments, self._metric, self._labels = instruments, metric, labels
        self._began = 0.0

    def __enter__(self) -> None:
        self._began = time.monotonic()

    def __exit__(self, *_: object) -> None:
        taken = time.monotonic() - self._began
        self._instruments.observe(self._metric, taken, *self._labels)


def encode(*series: str) -> str:
    """Return the text that stands for a series, see `decode`."""
    return json.dumps(series, separators=(",", ":"))
