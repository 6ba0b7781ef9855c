"""The metrics of all processes: each adds what it has counted; any process reads the totals.

The hash belongs to one server process of the store. After a restart, which may bring back an older
snapshot, counting starts from 0 in a new hash (docs/adr/0086).
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import NamedTuple

from cache import ttl
from cache.coordination.server_id import server_id
from cache.keys import KeyBuilder
from cache.store import scripts
from cache.store.flow import Batch, Flow, gather
from cache.store.operation import Operations, S, operation

_PROCESS = "process:"
#: The id of a server that reports none: its restarts are not seen.
_UNKNOWN = "-"


class MetricsReport(NamedTuple):
    """What one process publishes."""

    process: str
    """Its name, which no other process has at any time."""
    sequence: int
    """Of the increments: a repeated one adds nothing."""
    increments: Mapping[str, float]
    """By series: what was counted since the sequence before."""
    ages: Mapping[str, float]
    """By series: seconds since something happened last."""
    gauges: str
    """What is so now, as text that the reader knows."""


class ProcessRecord(NamedTuple):
    """What a process that runs published last."""

    process: str
    gauges: str


class MetricTotals(NamedTuple):
    """What all processes have published, unchecked."""

    values: Mapping[str, str]
    """Counts and times (seconds since the epoch) by series."""
    processes: list[ProcessRecord]
    """Those that run."""


class ProcessMetrics(Operations[S]):
    """Counts of all processes, in one hash.

    On an `AsyncStore` every method is a coroutine. Every method raises StoreUnavailableError when the
    store does not answer.
    """

    def __init__(self, store: S, keys: KeyBuilder) -> None:
        super().__init__(store)
        self._keys = keys

    @operation
    def server(self) -> Flow[str]:
        """Return the id of the store's server process, as `add` takes it."""
        found, _ = yield from gather(server_id(), _answers())
        return found or _UNKNOWN

    @operation
    def add(self, server: str, report: MetricsReport) -> Flow[bool]:
        """Add what a process has counted; return False for a sequence that was added before.

        After an error, the increments may have been added.
        """
        increments, ages = report.increments, report.ages
        added = yield from scripts.run(
            "metrics_add",
            self._keys.metrics_key(server),
            report.process,
            report.sequence,
            1000 * ttl.METRICS,
            report.gauges,
            len(increments),
            *chain.from_iterable((field, repr(value)) for field, value in increments.items()),
            *chain.from_iterable((field, repr(value)) for field, value in ages.items()),
        )
        return bool(added)

    @operation
    def remove(self, server: str, process: str) -> Flow[None]:
        """Remove the record of a process that ends; what it has counted stays."""
        yield Batch(("HDEL", self._keys.metrics_key(server), _PROCESS + process))

    @operation
    def read(self) -> Flow[MetricTotals]:
        """Return the totals of this server process, and forget processes that ended long ago."""
        server, found = "", (yield from ProcessMetrics.server.flow(self))
        while found != server:
            server = found
            # In one round trip: else a restart between the two would show the counts of a snapshot.
            (raw, time), answer = yield from gather(self._raw(server), server_id())
            found = answer or _UNKNOWN
        totals, ended = _parse(raw, float(time[0]) + int(time[1]) / 1e6)
        if ended:
            yield Batch(("HDEL", self._keys.metrics_key(server), *ended))
        return totals

    def _raw(self, server: str) -> Flow[tuple[list[bytes], list[bytes]]]:
        raw, time = yield Batch(("HGETALL", self._keys.metrics_key(server)), ("TIME",))
        return raw, time


def _answers() -> Flow[None]:
    """Raise if the server refuses more than INFO."""
    yield Batch(("TIME",))


def _parse(raw: list[bytes], now: float) -> tuple[MetricTotals, list[bytes]]:
    """Return what a hash has, and the records in it of processes that ended long ago."""
    values: dict[str, str] = {}
    processes: list[ProcessRecord] = []
    ended: list[bytes] = []
    for field, value in zip(raw[::2], raw[1::2], strict=True):
        name, text = field.decode(errors="replace"), value.decode(errors="replace")
        if not name.startswith(_PROCESS):
            values[name] = text
            continue
        age = now - _published_at(text)
        if age > ttl.METRICS_RECORD:
            ended.append(field)
        elif age <= ttl.METRICS_OF_PROCESS:
            process, gauges = name.removeprefix(_PROCESS), text.split(" ", 2)[-1]
            processes.append(ProcessRecord(process, gauges))
    return MetricTotals(values, processes), ended


def _published_at(record: str) -> float:
    """Return when a process published its record: seconds since the epoch, 0 if it has none."""
    try:
        return float(record.split(" ", 2)[1])
    except (IndexError, ValueError):
        return 0.0
