"""Starts the traces of a process, if they are on, and its exporter."""

from __future__ import annotations

import atexit
import logging
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from seen_local.version import version
from worker import tracing
from worker.logs import context

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

    from settings import Settings

logger = logging.getLogger(__name__)

_mutex = threading.Lock()
#: The SDK and its exporter log each failure; `_Exporter` logs an outage once.
_SILENCED = ("opentelemetry.exporter.otlp", "opentelemetry.sdk._shared_internal")


def start(settings: Settings, worker: str) -> None:
    """Record spans from now on, if traces are on; at most once in a process.

    Args:
        settings: of this process.
        worker: its name, ``host:pid``.

    """
    if not settings.tracing_is_on:
        return
    with _mutex:
        if tracing.active is None:
            from worker.tracing.recorder import Recorder

            for name in _SILENCED:
                logging.getLogger(name).setLevel(logging.CRITICAL)
            tracing.active = Recorder(_exporter(), _resource(settings, worker))
            context.trace_ids = tracing.active.ids
            atexit.register(stop)  # of programs that do not close their runtime, as commands


def stop() -> None:
    """Send the last spans."""
    with _mutex:
        recorder, tracing.active = tracing.active, None
        context.trace_ids = context.no_trace
    if recorder is not None:
        recorder.close()


def _resource(settings: Settings, worker: str) -> Mapping[str, str]:
    host, _, pid = worker.rpartition(":")
    return {
        "service.name": settings.otel_service_name,
        "service.version": version(),
        "service.instance.id": worker,
        "host.name": host,
        "process.pid": pid,
    }


def _exporter() -> SpanExporter:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

    class Exporter(SpanExporter):
        """Logs once that the collector does not take spans, and once that it does again."""

        def __init__(self) -> None:
            self._inner, self._is_failing = OTLPSpanExporter(), False

        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            try:
                result, why = self._inner.export(spans), "it does not answer, or refuses"
            except Exception as error:
                result, why = SpanExportResult.FAILURE, str(error)
            is_failing = result is not SpanExportResult.SUCCESS
            if is_failing and not self._is_failing:
                logger.warning("The collector of traces takes no spans; they are lost: %s", why)
            elif self._is_failing and not is_failing:
                logger.info("The collector of traces takes spans again")
            self._is_failing = is_failing
            return result

        def shutdown(self) -> None:
            self._inner.shutdown()  # type: ignore[no-untyped-call]

    return Exporter()
