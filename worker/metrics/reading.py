"""Checks and groups what all processes have published: the store may hold anything."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from cache.coordination.process_metrics import MetricTotals
from worker.metrics.catalog import METRICS
from worker.metrics.metric import Kind, Metric

#: Series of one metric at most; further ones are left out.
_MOST = 2_000


class Total(NamedTuple):
    """One series of a metric.

    Attributes:
        labels: their values.
        value: of a counter or gauge; the sum of a histogram.
        buckets: of a histogram: each bound, and how many values are at most that.
    """

    labels: tuple[str, ...]
    value: float
    buckets: list[tuple[str, float]]


def read_totals(totals: MetricTotals) -> Iterator[tuple[Metric, list[Total]]]:
    """Yield each metric with its series. What this version does not know is left out."""
    found = _by_metric(_counts(totals.values))
    for record in totals.processes:
        for metric, labels, _, value in _gauges(record.gauges):
            found[metric.name][labels][""] += value
    for metric in METRICS.values():
        series = found[metric.name]
        for labels in metric.known_series():
            _ = series[labels]  # 0 from the start
        yield metric, [_total(metric, labels, series[labels]) for labels in sorted(series)[:_MOST]]


_Value = tuple[Metric, tuple[str, ...], str, float]
#: By labels, then by bound (or `sum`) of a histogram.
_Parts = defaultdict[tuple[str, ...], defaultdict[str, float]]


def _by_metric(values: Iterable[_Value]) -> defaultdict[str, _Parts]:
    found: defaultdict[str, _Parts] = defaultdict(lambda: defaultdict(lambda: defaultdict(float)))
    for metric, labels, part, value in values:
        found[metric.name][labels][part] = value
    return found


def _total(metric: Metric, labels: tuple[str, ...], parts: Mapping[str, float]) -> Total:
    if metric.kind is not Kind.HISTOGRAM:
        return Total(labels, parts.get("", 0.0), [])
    reached, buckets = 0.0, []
    for bound in metric.bounds:
        reached += parts.get(bound, 0.0)
        buckets.append((bound, reached))
    return Total(labels, parts.get("sum", 0.0), buckets)


def _counts(values: Mapping[str, str]) -> Iterator[_Value]:
    for field, text in values.items():
        value = _value(field, text)
        if value is not None and value[0].kind is not Kind.SUM:
            yield value


def _gauges(text: str) -> Iterator[_Value]:
    try:
        pairs = [(str(field), str(value)) for field, value in json.loads(text)]
    except (ValueError, TypeError, RecursionError):
        return
    for field, number in pairs:
        value = _value(field, number)
        if value is not None and value[0].kind is Kind.SUM:
            yield value


def _value(field: str, text: str) -> _Value | None:
    """Return a value of a known series; None if it is not one."""
    series = _decode(field)
    metric = METRICS.get(series[0]) if series else None
    if metric is None:
        return None
    is_histogram = metric.kind is Kind.HISTOGRAM
    labels, part = (tuple(series[1:-1]), series[-1]) if is_histogram else (tuple(series[1:]), "")
    if not metric.allows(labels) or (is_histogram and part not in {*metric.bounds, "sum"}):
        return None
    try:
        value = float(text)
    except ValueError:
        return None
    return (metric, labels, part, value) if 0 <= value < math.inf else None


def _decode(field: str) -> list[str]:
    """Return the name and the values of labels that a text stands for; empty if it stands for none."""
    try:
        series: Any = json.loads(field)
    except (ValueError, RecursionError):
        return []
    is_series = isinstance(series, list) and all(isinstance(one, str) for one in series)
    return series if is_series else []
