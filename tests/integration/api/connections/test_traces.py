"""Spans of requests: their names are few, whatever is sent as a method."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from api.middleware.traces import Traces
from worker.tracing.recorder import Recorder


class _Kept(SpanExporter):
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.spans: list[Any] = []

    def export(self, spans: Any) -> SpanExportResult:
        self.spans += spans
        return SpanExportResult.SUCCESS


@pytest.mark.parametrize(
    ("method", "shown"), [("GET", "GET"), ("POST", "POST"), ("EVIL1", "other"), ("get", "other")]
)
def test_a_method_of_any_name_makes_no_name_of_a_span(method: str, shown: str) -> None:
    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 405, "headers": []})

    async def drop(_message: Any) -> None:
        pass

    async def no_body() -> Any:
        return {"type": "http.disconnect"}

    kept = _Kept()
    recorder = Recorder(kept, {})
    scope = {"type": "http", "method": method, "path": "/x", "headers": []}
    asyncio.run(Traces(app, recorder)(scope, no_body, drop))
    recorder.close()
    (span,) = kept.spans
    assert (span.name, span.attributes["http.request.method"]) == (shown, shown)
