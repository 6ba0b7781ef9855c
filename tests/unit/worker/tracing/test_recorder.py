"""Spans of jobs: one trace for each, whichever process records them; and none where traces are off."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from domain.errors import PausedError, TransientError
from domain.ids import new_job_id
from settings import Settings
from tests.support.servers.trace_collector import TraceCollector
from worker import tracing
from worker.logs import context
from worker.tracing import recorder as recording
from worker.tracing import setup
from worker.tracing.recorder import Recorder, root_of

JOB = "01a22e49-5566-7032-8b09-6ff848e60dd5"
WORKER = {"service.name": "seen-downloads"}


class Recorded:
    """The spans of one process."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.recorder = Recorder(self._exporter, WORKER)

    def end(self) -> list[ReadableSpan]:
        """Stop, and return them."""
        self.recorder.close()
        return list(self._exporter.get_finished_spans())


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorded]:
    found = Recorded()
    monkeypatch.setattr(tracing, "active", found.recorder)
    yield found
    found.recorder.close()


def _ids(span: ReadableSpan) -> tuple[int, int, int]:
    own, parent = span.context, span.parent
    assert own is not None
    return own.trace_id, own.span_id, parent.span_id if parent else 0


def test_without_traces_nothing_is_made() -> None:
    assert tracing.active is None
    assert tracing.span("transfer", JOB, a=1) is tracing.span("verify", JOB)
    with tracing.span("transfer", JOB):
        tracing.note("text")
        tracing.failed("text", "code")
    assert tracing.headers(JOB) == {}
    assert context.trace_ids(JOB) == {}


def test_processes_add_to_one_trace_without_a_word_between_them() -> None:
    first, second = Recorded(), Recorded()
    for process in (first, second):
        with process.recorder.span("attempt", JOB, {}), process.recorder.span("transfer", JOB, {}):
            pass
    spans = [*first.end(), *second.end()]
    root = root_of(JOB)
    assert {_ids(span)[0] for span in spans} == {root.trace_id}
    by_id = {_ids(span)[1]: span for span in spans}
    assert len(by_id) == 4
    for span in spans:
        parent = _ids(span)[2]
        expected = root.span_id if span.name == "attempt" else parent
        assert parent == expected
        assert span.name == "attempt" or by_id[parent].name == "attempt"


def test_jobs_have_traces_of_their_own() -> None:
    roots = [root_of(new_job_id()) for _ in range(1000)]
    assert len({root.trace_id for root in roots}) == len({root.span_id for root in roots}) == 1000


def test_span_of_another_job_is_no_child_of_this_one(recorded: Recorded) -> None:
    other = new_job_id()
    with tracing.span("attempt", JOB), tracing.span("attempt", other):
        pass
    inner, _outer = recorded.end()
    assert _ids(inner)[::2] == (root_of(other).trace_id, root_of(other).span_id)


def test_error_ends_a_span_without_secrets(recorded: Recorded) -> None:
    secret = "hunter2hunter2"
    text = f"http://user:{secret}@example.org/?token={secret}\n\x1b[2J"
    with suppress(TransientError), tracing.span("transfer", JOB, host=text):
        tracing.note(text)
        raise TransientError(text, code="http_503")
    (span,) = recorded.end()
    assert not span.status.is_ok
    assert span.attributes is not None
    assert span.attributes["error.type"] == "http_503"
    assert secret not in span.to_json()
    assert "\x1b" not in str(span.status.description)


def test_pause_is_no_error(recorded: Recorded) -> None:
    with pytest.raises(PausedError), tracing.span("transfer", JOB):
        raise PausedError
    (span,) = recorded.end()
    assert span.status.description is None
    assert (span.attributes or {})["seen.stopped"] == PausedError.code


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_sampler_decides_for_a_whole_trace(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", str(share))
    first, second = Recorded(), Recorded()
    jobs = [new_job_id() for _ in range(200)]
    for job in jobs:
        for process in (first, second):
            with process.recorder.span("attempt", job, {}):
                pass
    counts = [len(process.end()) for process in (first, second)]
    assert counts[0] == counts[1]
    # 200 coins: fewer than 50 or more than 150 heads do not come in the life of this test.
    assert 200 * share - 50 <= counts[0] <= 200 * share + 50
    assert counts[0] in {0, 200} or share == 0.5


def test_records_of_logs_name_their_span(recorded: Recorded) -> None:
    ids = recorded.recorder.ids
    trace_id = f"{root_of(JOB).trace_id:032x}"
    assert ids(None) == {}
    assert ids(JOB) == {"trace_id": trace_id}
    with tracing.span("attempt", JOB):
        present = ids(JOB)
        assert present["trace_id"] == trace_id
        assert ids(None) == present
        assert ids(new_job_id()).keys() == {"trace_id"}
    (span,) = recorded.end()
    assert present["span_id"] == f"{_ids(span)[1]:016x}"


# ── the collector ───────────────────────────────────────────────────────────────────────────────


def test_collector_that_refuses_is_logged_once_and_harms_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with TraceCollector() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        exporter = setup._exporter()
        spans = _some_spans()
        with caplog.at_level(logging.INFO, logger="worker.tracing.setup"):
            for status in (400, 400, 200, 200, 400):
                collector.status = status
                exporter.export(spans)
        exporter.shutdown()
        assert collector.requests == 5
        assert len(collector.spans()) == 2
    mine = [one.message.partition(";")[0] for one in caplog.records if "tracing" in one.name]
    down, up = "The collector of traces takes no spans", "The collector of traces takes spans again"
    assert mine == [down, up, down]


def _some_spans() -> list[ReadableSpan]:
    process = Recorded()
    with process.recorder.span("attempt", JOB, {}):
        pass
    return process.end()


def test_process_ends_though_the_collector_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    class Hanging(InMemorySpanExporter):
        def export(self, spans: Any) -> Any:
            raise AssertionError("it is never asked")

        def shutdown(self) -> None:
            never.wait()

    never = threading.Event()
    monkeypatch.setattr(recording, "FLUSH_SECONDS", 0.01)
    recorder = Recorder(Hanging(), WORKER)
    recorder.close()  # returns
    never.set()


# ── settings ────────────────────────────────────────────────────────────────────────────────────

URL = "http://127.0.0.1:4318"


@pytest.mark.parametrize(
    ("variables", "is_on"),
    [
        ({}, False),
        ({"SEEN_TRACING": "true"}, True),
        ({"SEEN_TRACING": "false"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": URL}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": URL}, True),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": URL}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": URL, "SEEN_TRACING": "false"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": URL, "OTEL_SDK_DISABLED": "true"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": URL, "OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": URL, "OTEL_SERVICE_NAME": "films"}, True),
    ],
)
def test_traces_are_on_by_our_variable_or_opentelemetrys(
    variables: dict[str, str], is_on: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert settings.tracing_is_on is is_on
    assert settings.otel_service_name == variables.get("OTEL_SERVICE_NAME", "seen-downloads")
