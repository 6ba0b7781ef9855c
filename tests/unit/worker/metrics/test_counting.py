"""What is counted, published and read; unknown and wrong data is left out."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from functools import partial

import pytest

from cache.coordination.process_metrics import MetricTotals, ProcessRecord
from worker.metrics import catalog
from worker.metrics.instruments import Instruments, encode
from worker.metrics.metric import Kind, Metric
from worker.metrics.reading import Total, read_totals
from worker.metrics.reasons import bounded_reason

BATCHES = catalog.BATCH_SIZE


def read(metric: Metric, values: Mapping[str, object], *gauges: str) -> list[Total]:
    processes = [ProcessRecord(f"{n}", text) for n, text in enumerate(gauges)]
    texts = {field: str(value) for field, value in values.items()}
    found = {one.name: totals for one, totals in read_totals(MetricTotals(texts, processes))}
    return found[metric.name]


def test_what_was_counted_is_taken_once() -> None:
    instruments = Instruments()
    for _ in range(3):
        instruments.count(catalog.ATTEMPTS, "waiting", "timeout")
    instruments.count(catalog.RECEIVED_BYTES, by=2.5)
    series = encode("seen_attempts", "waiting", "timeout")
    assert instruments.take() == {series: 3, encode("seen_received_bytes"): 2.5}
    assert instruments.take() == {}


@pytest.mark.parametrize(
    ("value", "bound"), [(0, "1"), (1, "1"), (1.5, "2"), (64, "64"), (1000, "1000"), (1001, "+Inf")]
)
def test_bucket_of_a_value(value: float, bound: str) -> None:
    instruments = Instruments()
    instruments.observe(BATCHES, value, "store")
    taken = instruments.take()
    assert taken.pop(encode("seen_batch_size", "store", "sum"), 0) == value
    assert taken == {encode("seen_batch_size", "store", bound): 1}
    (total,) = (one for one in read(BATCHES, taken) if one.labels == ("store",))
    assert [count for _, count in total.buckets] == [
        float(one == "+Inf" or (bound != "+Inf" and float(one) >= float(bound)))
        for one in BATCHES.bounds
    ]


def test_no_count_of_several_threads_is_lost() -> None:
    instruments = Instruments()

    def work() -> None:
        for _ in range(5_000):
            instruments.count(catalog.RECEIVED_BYTES, by=1)
            instruments.observe(BATCHES, 1, "store")

    threads = [threading.Thread(target=work) for _ in range(4)]
    taken: list[dict[str, float]] = []
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        taken.append(instruments.take())
    taken.append(instruments.take())
    for field in (encode("seen_received_bytes"), encode("seen_batch_size", "store", "1")):
        assert sum(one.get(field, 0) for one in taken) == 20_000


def test_gauges_of_processes_are_added() -> None:
    one, other = Instruments(), Instruments()
    for instruments, slots in ((one, 3), (other, 4)):
        instruments.set_gauge(catalog.SLOTS, read=partial(float, slots))
    assert read(catalog.SLOTS, {}, one.gauges(), other.gauges()) == [Total((), 7.0, [])]


RECEIVED = encode("seen_received_bytes")


@pytest.mark.parametrize(
    ("metric", "values"),
    [
        (catalog.RECEIVED_BYTES, {RECEIVED: "x"}),
        (catalog.RECEIVED_BYTES, {RECEIVED: "nan"}),
        (catalog.RECEIVED_BYTES, {RECEIVED: "inf"}),
        (catalog.RECEIVED_BYTES, {RECEIVED: "-1"}),
        (catalog.RECEIVED_BYTES, {encode("seen_received_bytes", "a label"): 1}),
        (catalog.RECEIVED_BYTES, {"seen_received_bytes": 1}),
        (catalog.RECEIVED_BYTES, {"[" * 100_000: 1}),
        (catalog.RECEIVED_BYTES, {'["seen_received_bytes", 1]': 1}),
        (catalog.RECEIVED_BYTES, {'{"seen_received_bytes": 1}': 1}),
        (catalog.RECEIVED_BYTES, {encode("seen_of_a_newer_version"): 1}),
        (catalog.RATE_LIMITED, {encode("seen_rate_limited_requests", "new"): 1}),
        (catalog.ATTEMPTS, {encode("seen_attempts", "waiting"): 1}),
        (catalog.ATTEMPTS, {encode("seen_attempts", "waiting", "a\nb"): 1}),
        (catalog.ATTEMPTS, {encode("seen_attempts", "waiting", "x" * 201): 1}),
        (catalog.TRANSFER_SIZE, {encode("seen_transfer_size_bytes", "2048"): 1}),
        (catalog.TRANSFER_SIZE, {encode("seen_transfer_size_bytes"): 1}),
        (catalog.SLOTS, {encode("seen_slots"): 1}),
    ],
)
def test_wrong_data_is_left_out(metric: Metric, values: dict[str, object]) -> None:
    assert read(metric, values) == read(metric, {})


@pytest.mark.parametrize(
    "gauges",
    ["", "x", "1", "[1]", "[[]]", '[["seen_slots", 1, 2]]', "[" * 100_000, "null"]
    + [
        json.dumps([[encode("seen_slots"), value]])
        for value in ("x", None, -1, float("inf"), float("nan"), [1])
    ]
    + [json.dumps([[encode("seen_received_bytes"), 1]])],
)
def test_wrong_gauges_are_left_out(gauges: str) -> None:
    assert read(catalog.SLOTS, {}, gauges) == [Total((), 0.0, [])]
    assert read(catalog.RECEIVED_BYTES, {}, gauges) == [Total((), 0.0, [])]


def test_series_of_a_metric_are_limited() -> None:
    many = {encode("seen_attempts", "waiting", f"code_{n}"): 1 for n in range(5_000)}
    assert len(read(catalog.ATTEMPTS, many)) == 2_000


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("timeout", "timeout"),
        ("curl_35", "curl_35"),
        ("http_503", "http_503"),
        ("http_599", "http_5xx"),
        ("http_799", "http_7xx"),
        ("http_99999", "http_9xx"),
        ("", ""),
        (None, ""),
        ("A sentence with https://example.org/", "other"),
        ("x" * 41, "other"),
        ("a\nb", "other"),
    ],
)
def test_reasons_are_few(code: str | None, reason: str) -> None:
    assert bounded_reason(code) == reason


def test_names_follow_prometheus_conventions() -> None:
    for name, metric in catalog.METRICS.items():
        assert name.startswith("seen_")
        assert not name.endswith(("_total", "_count", "_sum", "_bucket", "_created", "_info"))
        assert metric.text.endswith("."), name
        assert (metric.kind is Kind.HISTOGRAM) == bool(metric.buckets), name
        assert list(metric.buckets) == sorted(set(metric.buckets)), name
        assert "le" not in metric.labels
