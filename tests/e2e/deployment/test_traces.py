"""A job is one trace: from its submission over HTTP, over a retry, to its webhook."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.origins.origin import Origin
from tests.support.servers.preloaded import run_module
from tests.support.servers.trace_collector import Span, TraceCollector
from tests.support.servers.webhook_receiver import WebhookReceiver
from tests.support.services.http_api import HttpApi
from tests.support.services.system import System
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until
from worker.tracing import setup

CALLER_TRACE, CALLER_SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CALLER = f"00-{CALLER_TRACE}-{CALLER_SPAN}-01"
#: What a job has that is retried once and has a webhook.
SPANS = {
    "download": 1,
    "submit": 1,
    "message": 2,
    "claim": 2,
    "attempt": 2,
    "transfer": 2,
    "verify": 1,
    "publish": 1,
    "webhook": 1,
}
PARENTS = {"transfer": "attempt", "verify": "attempt", "publish": "attempt"}
SECRET = "hunter2hunter2"


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[TraceCollector]:
    with TraceCollector() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
        yield collector


@pytest.fixture
def api(tmp_path: Path, store: StoreServer, collector: TraceCollector) -> Iterator[HttpApi]:
    """An API in this process; the workers are processes of their own."""
    settings = {
        "SEEN_SECRET_KEY": "0123456789abcdef" * 2,
        "SEEN_LOG_FORMAT": "json",
        "SEEN_SHORT_RETRIES": "0",
        "SEEN_RETRY_BACKOFF": "0.1",
    }
    with System(tmp_path, store, settings=settings) as system:
        system.start_maintenance()
        system.start_worker()
        setup.start(system.runtime.settings, system.runtime.worker)
        try:
            api = HttpApi(system)
            with api.serving():
                yield api
        finally:
            setup.stop()


def _submit(api: HttpApi, url: str, webhook: str, traceparent: str) -> str:
    answer = api.client("root").post(
        "/v1/downloads",
        json={"url": f"{url}?token={SECRET}", "webhook": webhook},
        headers={"traceparent": traceparent},
    )
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def _count(spans: list[Span]) -> dict[str, int]:
    names = [span.name for span in spans]
    return {name: names.count(name) for name in names}


def _wait_for_trace(collector: TraceCollector, job: str) -> list[Span]:
    def found() -> list[Span] | None:
        spans = [span for span in collector.spans() if span.attributes.get("seen.job_id") == job]
        return spans if _count(spans) == SPANS else None

    spans = wait_until(found, deadline=60, what="all spans have arrived")
    assert spans is not None
    return spans


def test_job_is_one_trace_from_submission_to_webhook(
    api: HttpApi, collector: TraceCollector, origin: Origin
) -> None:
    file = origin.serve("/file.bin", size=100_000, statuses=[503])
    with WebhookReceiver() as receiver:
        job = _submit(api, file.url, receiver.url(), CALLER)
        spans = _wait_for_trace(collector, job)
        (received,) = receiver.received
    (root,) = [span for span in spans if span.name == "download"]
    by_id = {span.span_id: span for span in spans}
    assert {span.trace_id for span in spans} == {root.trace_id}
    for span in spans:
        parent = by_id[span.parent].name if span.parent else ""
        assert parent == ("" if span is root else PARENTS.get(span.name, "download"))
        assert root.start <= span.start <= span.end
    assert received.headers["traceparent"] == f"00-{root.trace_id}-{root.span_id}-01"
    _check_attempts(spans)
    _check_caller(collector, spans, root)
    assert SECRET not in str(collector.spans())
    _check_logs(api.system, job, root.trace_id)


def _check_attempts(spans: list[Span]) -> None:
    attempts = sorted((span for span in spans if span.name == "attempt"), key=lambda one: one.start)
    assert [span.is_error for span in attempts] == [True, False]
    assert attempts[0].attributes["error.type"] == "http_503"
    assert [span.attributes["fence"] for span in attempts] == ["1", "2"]


def _check_caller(collector: TraceCollector, spans: list[Span], root: Span) -> None:
    """The request is in the trace of its caller, and linked with that of the job, both ways."""
    (request,) = collector.spans(CALLER_TRACE)
    assert (request.name, request.parent) == ("POST /v1/downloads", CALLER_SPAN)
    assert request.attributes["http.response.status_code"] == "201"
    assert request.attributes["enduser.id"] == "root"
    (submit,) = [span for span in spans if span.name == "submit"]
    assert submit.links == ((CALLER_TRACE, request.span_id),)
    assert request.links == ((root.trace_id, root.span_id),)


def _check_logs(system: System, job: str, trace_id: str) -> None:
    lines = (json.loads(line) for line in system.logs().splitlines() if line.startswith("{"))
    records: list[dict[str, Any]] = [line for line in lines if line.get("job_id") == job]
    assert records
    assert {record["trace_id"] for record in records} == {trace_id}
    assert any("span_id" in record for record in records)


def test_command_sends_its_span_before_it_ends(
    api: HttpApi, collector: TraceCollector, origin: Origin
) -> None:
    url = origin.serve("/added.bin", size=1_000).url
    environment = {**os.environ, **api.system.environment}
    done = run_module(
        "cli", ["add", url], environment=environment, folder=api.system.folder, timeout=60
    )
    assert done.returncode == 0, done.stderr
    job = done.stdout.strip()
    own = [span for span in collector.spans() if span.attributes["seen.job_id"] == job]
    assert {"submit", "message"} <= {span.name for span in own}


def test_hostile_header_starts_a_trace_of_its_own(api: HttpApi, collector: TraceCollector) -> None:
    for number, sent in enumerate(
        ("", "garbage", f"{CALLER}\t{CALLER}", f"ff{CALLER[2:]}", "0" * 5000)
    ):
        answer = api.client("ada").get("/v1/downloads", headers={"traceparent": sent})
        assert answer.status_code == 200
        wait_until(lambda: len(collector.spans()) > number, deadline=30, what="it is recorded")  # noqa: B023
    assert not collector.spans(CALLER_TRACE)
    assert {span.parent for span in collector.spans()} == {""}


@pytest.mark.parametrize("token", [None, "seen_aaaaaaaa_wrong", "seen_session_wrong"])
def test_who_has_not_signed_in_starts_a_trace_of_its_own(
    api: HttpApi, collector: TraceCollector, token: str | None
) -> None:
    headers = {"traceparent": CALLER}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    paths = {"/healthz": 200, "/v1/none": 404, "/v1/downloads": 401}
    for path, status in paths.items():
        assert api.client().get(path, headers=headers).status_code == status
    wait_until(lambda: len(collector.spans()) == len(paths), deadline=30, what="all are recorded")
    assert not collector.spans(CALLER_TRACE)
    assert {span.parent for span in collector.spans()} == {""}
