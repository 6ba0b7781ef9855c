"""Records spans with OpenTelemetry's SDK. Only processes with traces import this module."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from domain.errors import StoppedError
from domain.job import Job, JobStatus
from worker.logs.context import is_in_callback
from worker.logs.records import shown
from worker.tracing.traceparent import TraceParent

#: Seconds for which a process that ends tries to send its last spans.
FLUSH_SECONDS = 2.0
#: Characters of a value.
_MAX_VALUE = 1_000
_NANO = 1_000_000_000
#: The span that is made next, if its ids are not random.
_root: ContextVar[TraceParent | None] = ContextVar("root", default=None)


class Recorder:
    """Records spans of jobs, and sends them in the background.

    Args:
        exporter: sends them. Its failures have no effect on jobs.
        resource: what this process is.
    """

    def __init__(self, exporter: SpanExporter, resource: Mapping[str, str]) -> None:
        self._provider = TracerProvider(
            resource=Resource.create(dict(resource)),
            id_generator=_Ids(),
            shutdown_on_exit=False,  # it would wait for a collector that is down
        )
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("seen-downloads")

    # ── spans of jobs ───────────────────────────────────────────────────────────────────────────

    @contextmanager
    def span(self, name: str, job_id: str, attributes: Mapping[str, object]) -> Iterator[None]:
        """Record a span (`worker.tracing.span`)."""
        with self._tracer.start_as_current_span(
            name,
            self._parent(job_id),
            attributes=values({"seen.job_id": job_id, **attributes}),
            record_exception=False,  # its text and its traceback may have secrets
            set_status_on_exception=False,
        ):
            try:
                yield
            except Exception as error:
                code = getattr(error, "code", type(error).__name__)
                if isinstance(error, StoppedError):
                    trace.get_current_span().set_attribute("seen.stopped", code)
                else:
                    self.failed(str(error), code)
                raise

    def past(
        self,
        name: str,
        job_id: str,
        since: datetime | float,
        attributes: Mapping[str, object],
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        error: str | None = None,
        links: tuple[Link, ...] = (),
    ) -> None:
        """Record a span that has ended now, and began at a time: aware, or seconds since the epoch."""
        start = since.timestamp() if isinstance(since, datetime) else since
        span = self._tracer.start_span(
            name,
            self._parent(job_id),
            kind,
            values({"seen.job_id": job_id, **attributes}),
            links,
            int(start * _NANO),
        )
        _end(span, error)

    def job_ended(self, job: Job) -> None:
        """Record the first span of a job: from its submission to its end."""
        token = _root.set(root_of(job.id))
        try:
            # Without a parent: the sampler decides for the trace, as it does in `_parent`.
            span = self._tracer.start_span(
                "download",
                Context(),
                attributes=values({"seen.job_id": job.id, **_of_job(job)}),
                start_time=int(job.created_at.timestamp() * _NANO),
            )
        finally:
            _root.reset(token)
        _end(span, job.reason if job.status is JobStatus.FAILED else None)

    def published(
        self, job_ids: Iterable[str], since: float, attributes: Mapping[str, object]
    ) -> None:
        """Record that messages of jobs were published, which ends now."""
        for job_id in job_ids:
            self.past("message", job_id, since, attributes, kind=SpanKind.PRODUCER)

    def claimed(self, job: Job, since: float, sent_at: datetime | None) -> None:
        """Record the claim of a job, from the consumption of its message."""
        waited = None if sent_at is None else since - sent_at.timestamp()
        of_claim = {
            "seen.fence": job.fence,
            "seen.worker": job.worker,
            "seen.queued_seconds": waited,
        }
        self.past("claim", job.id, since, of_claim, kind=SpanKind.CONSUMER)

    def delivered(
        self, job_id: str, seconds: float, error: str | None, attributes: Mapping[str, object]
    ) -> None:
        """Record an attempt at a delivery, which has taken so long and ends now."""
        since = time.time() - seconds
        self.past("webhook", job_id, since, attributes, kind=SpanKind.CLIENT, error=error)

    def submitted(self, jobs: Iterable[Job]) -> None:
        """Record the submission of jobs, which ends now; the present span and theirs link each other."""
        caller = trace.get_current_span()
        links = (Link(caller.get_span_context()),) if caller.get_span_context().is_valid else ()
        for job in jobs:
            of_job = _of_job(job)
            self.past("submit", job.id, job.created_at, of_job, kind=SpanKind.PRODUCER, links=links)
            caller.add_link(self._root(job.id))

    def note(self, text: str) -> None:
        """Add an event to the present span."""
        if not is_in_callback():
            trace.get_current_span().add_event(shown(text, _MAX_VALUE))

    def failed(self, reason: str | None, code: str | None) -> None:
        """End the present span as an error."""
        span = trace.get_current_span()
        span.set_status(Status(StatusCode.ERROR, shown(reason or "", _MAX_VALUE)))
        span.set_attributes(values({"error.type": code}))

    # ── requests of the HTTP API ────────────────────────────────────────────────────────────────

    @contextmanager
    def request(self, method: str, parent: TraceParent | None) -> Iterator[trace.Span]:
        """Record a request, in the trace of its caller if it has sent one."""
        context = Context()
        if parent is not None:
            flags = TraceFlags(TraceFlags.SAMPLED if parent.is_sampled else TraceFlags.DEFAULT)
            remote = SpanContext(parent.trace_id, parent.span_id, is_remote=True, trace_flags=flags)
            context = set_span_in_context(NonRecordingSpan(remote))
        with self._tracer.start_as_current_span(method, context, SpanKind.SERVER) as span:
            yield span

    # ── what others continue ────────────────────────────────────────────────────────────────────

    def headers(self, job_id: str) -> Mapping[str, str]:
        """Return the headers with which a receiver continues the trace of a job."""
        root = self._root(job_id)
        parent = TraceParent(root.trace_id, root.span_id, root.trace_flags.sampled)
        return {"traceparent": str(parent)}

    def ids(self, job_id: object) -> Mapping[str, str]:
        """Return trace_id and span_id for a log record, which may belong to a job."""
        present = SpanContext(0, 0, is_remote=False)
        if not is_in_callback():
            present = trace.get_current_span().get_span_context()
        if isinstance(job_id, str) and present.trace_id != root_of(job_id).trace_id:
            return {"trace_id": f"{root_of(job_id).trace_id:032x}"}
        if not present.is_valid:
            return {}
        return {"trace_id": f"{present.trace_id:032x}", "span_id": f"{present.span_id:016x}"}

    def close(self) -> None:
        """Send what is left, and wait for that for `FLUSH_SECONDS` at most."""
        flush = threading.Thread(target=self._provider.shutdown, name="last-spans", daemon=True)
        flush.start()
        flush.join(FLUSH_SECONDS)

    def _parent(self, job_id: str) -> Context:
        """Return the present span of a job as a context, or its first span."""
        root = self._root(job_id)
        present = trace.get_current_span()
        is_of_job = present.get_span_context().trace_id == root.trace_id
        return set_span_in_context(present if is_of_job else NonRecordingSpan(root))

    def _root(self, job_id: str) -> SpanContext:
        """Return the first span of a job; whether it is recorded is decided as by its own process."""
        parent = root_of(job_id)
        sampler = self._provider.sampler
        sampled = sampler.should_sample(Context(), parent.trace_id, "download").decision
        is_sampled = sampled is Decision.RECORD_AND_SAMPLE
        flags = TraceFlags(TraceFlags.SAMPLED if is_sampled else TraceFlags.DEFAULT)
        return SpanContext(parent.trace_id, parent.span_id, is_remote=True, trace_flags=flags)


class _Ids(RandomIdGenerator):
    """Gives a job's first span the ids that follow from the job's id."""

    def generate_span_id(self) -> int:
        """Return the id that is wanted, or a random one."""
        wanted = _root.get()
        return super().generate_span_id() if wanted is None else wanted.span_id

    def generate_trace_id(self) -> int:
        """Return the trace that is wanted, or a random one."""
        wanted = _root.get()
        return super().generate_trace_id() if wanted is None else wanted.trace_id


def root_of(job_id: str) -> TraceParent:
    """Return the first span of a job; its bits are as good as random ones, as samplers need them."""
    bits = hashlib.sha256(f"seen:trace:{job_id}".encode()).digest()
    return TraceParent(int.from_bytes(bits[:16]), int.from_bytes(bits[16:24]), is_sampled=True)


def values(attributes: Mapping[str, object]) -> dict[str, str | int | float | bool]:
    """Return attributes without those that are None; text as logs show it."""
    return {
        name: one if isinstance(one, (bool, int, float)) else shown(str(one), _MAX_VALUE)
        for name, one in attributes.items()
        if one is not None
    }


def _of_job(job: Job) -> dict[str, object]:
    return {
        "seen.status": job.status.value,
        "seen.priority": job.priority.value,
        "seen.attempts": job.attempts,
        "seen.bytes": job.bytes_downloaded,
        "server.address": job.host,
        "enduser.id": job.user_id,
        "error.type": job.error_code,
    }


def _end(span: trace.Span, error: str | None) -> None:
    if error is not None:
        span.set_status(Status(StatusCode.ERROR, shown(error, _MAX_VALUE)))
    span.end(int(time.time() * _NANO))
