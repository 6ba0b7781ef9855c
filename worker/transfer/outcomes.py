"""What follows when a response arrives, and when a request ends: continue, retry, restart or fail."""

from __future__ import annotations

import logging
import time
from dataclasses import replace

from domain.errors import PermanentError, SeenError, TransientError, WorkerResourcesError
from domain.urls import host_of
from worker.transfer.connection import Connection
from worker.transfer.connection_policy import ConnectionPolicy
from worker.transfer.connection_pool import ConnectionPool
from worker.transfer.http import statuses
from worker.transfer.http.decoding import Decoder
from worker.transfer.http.statuses import Meaning
from worker.transfer.interfaces import EngineResources, TransferSpec
from worker.transfer.output_file import OutputFile
from worker.transfer.response_rules import (
    Classification,
    Decision,
    classify_response,
    is_request_specific,
)
from worker.transfer.retry_budget import RetryBudget
from worker.transfer.sources import Source, Sources
from worker.transfer.stall_detector import StallDetector

logger = logging.getLogger(__name__)

#: Refusals of a range by origins that may still send the whole file.
_RANGE_REFUSALS = frozenset({"http_400", "http_405", "http_501"})
#: How often one attempt restarts the file before the job has to wait.
_MAX_RESTARTS = 2


class RequestOutcomes:
    """Handles the responses and failures of one transfer's requests.

    Args:
        stall: the speed of the whole transfer; restarted when another URL is requested.

    Attributes:
        trust_ranges: ranges may be requested; False once the origin handled one wrongly.
        if_range: the validator to request ranges with, or None.
        retry_at: monotonic time before which no request is sent.
    """

    def __init__(
        self,
        spec: TransferSpec,
        resources: EngineResources,
        *,
        output: OutputFile,
        sources: Sources,
        pool: ConnectionPool,
        policy: ConnectionPolicy,
        stall: StallDetector,
    ) -> None:
        self._spec, self._options, self._job_id = spec, resources.options, output.job_id
        self._on_retry = resources.on_retry
        self._output, self._sources, self._pool = output, sources, pool
        self._policy, self._stall = policy, stall
        self._retries = RetryBudget(resources.options, time.monotonic())
        self._restarts = 0
        self.trust_ranges = True
        self.if_range: str | None = None
        self.retry_at = 0.0

    @property
    def can_continue(self) -> bool:
        """Whether further responses can be joined to the bytes of the first."""
        return self.trust_ranges and self._output.description.validator is not None

    # ── start and restart ───────────────────────────────────────────────────────────────────────

    async def resume(self) -> None:
        """Resume from the destination's checkpoint, or start from zero."""
        if not self._output.segments.downloaded:  # else this attempt wrote them
            await self._output.resume(self._sources.first.digest, may_continue=self.trust_ranges)
            self.if_range = self._output.description.validator

    def restart(self, reason: str) -> None:
        """Discard all bytes: they cannot be joined to the origin's file."""
        self.close_all()
        self.if_range, self._policy.can_split = None, False
        self._output.restart(reason)

    def _restart_after(self, error: TransientError) -> None:
        self._restarts += 1
        if self._restarts > _MAX_RESTARTS:
            raise error
        # The file may not have changed at all: this origin may handle ranges wrongly.
        self.trust_ranges = False
        self.restart(str(error).rstrip("."))

    def close(self, connection: Connection) -> None:
        """Close a connection; what it did not fetch of its segment can be claimed again."""
        self._output.segments.release(connection.segment)
        self._pool.close(connection)

    def close_all(self) -> None:
        """Close all connections."""
        for connection in list(self._pool.connections):
            self.close(connection)

    # ── responses ───────────────────────────────────────────────────────────────────────────────

    def on_response(self, connection: Connection) -> bool:
        """Classify a response; return whether its body is written.

        libcurl calls this: it must not start or end other requests, but may forget them.
        """
        response, known = connection.response, self._output.description
        is_mirror = not self._output.is_from(connection.source.digest)
        found = classify_response(connection.request, response, known, is_mirror=is_mirror)
        connection.classification = found
        is_only = self._pool.connections == [connection]
        if found.decision is Decision.FULL_BODY:
            if not is_only and not self._output.is_same_representation(response):
                changed = Classification(Decision.RESOURCE_CHANGED, "the file has changed")
                connection.classification = changed
                return False
            self._start_from(connection)
            return True
        if found.decision is Decision.REQUESTED_RANGE:
            self._accept_range(connection)
            return True
        is_refused = found.decision in {Decision.RANGE_IGNORED, Decision.RESOURCE_CHANGED}
        is_full_body = statuses.meaning(response.status) is Meaning.FILE
        if is_refused and is_full_body and is_only:
            # The whole file is being sent already, and nothing else is: use it.
            self._switch_to_full_body(connection, found.reason)
            return True
        return False

    def _start_from(self, connection: Connection) -> None:
        """Start the file that a response with all of it describes."""
        response = connection.response
        is_only = self._pool.connections == [connection]
        if is_only and not self._output.segments.is_untouched:
            connection.segment = self._output.reset_segments()
        decoded = self._spec.decode and response.is_encoded
        connection.decoder = Decoder(response.headers["content-encoding"]) if decoded else None
        if response.status == 206 and response.resource_size is None:
            self._output.add_note(
                "the origin sent an unspecified part; it is stored as the whole file"
            )
        total = self._output.start_from(response, connection.source.digest, decoded=decoded)
        connection.expected_end = None if decoded else response.body_end
        self.if_range = self._output.description.validator
        has_ranges = response.headers.get("accept-ranges", "").lower() == "bytes"
        self._policy.can_split = has_ranges and total is not None and self.can_continue

    def _accept_range(self, connection: Connection) -> None:
        span = connection.response.content_range
        if span is None:
            raise ValueError("an accepted range has no Content-Range")
        connection.expected_end = span[1] + 1
        if self._output.segments.total is None and span[2] is not None:
            self._output.set_total(span[2])
        # The origin sent the requested range, so it supports ranges.
        has_total = self._output.segments.total is not None
        self._policy.can_split = has_total and self._output.description.validator is not None

    def _switch_to_full_body(self, connection: Connection, reason: str) -> None:
        self._pool.connections.clear()  # `restart` must not close this one
        try:
            self.restart(reason)
        finally:  # else nothing would end its request, when the lease is lost for example
            self._pool.connections.append(connection)
        connection.segment = self._output.segments.claim_first()
        connection.request = replace(connection.request, first=None, last=None)
        connection.classification = Classification(Decision.FULL_BODY)
        self._start_from(connection)

    # ── ended requests ──────────────────────────────────────────────────────────────────────────

    def on_finished(self, connection: Connection, code: int, detail: str) -> None:
        """Handle a request that has ended; raise when the transfer cannot continue.

        Args:
            code: libcurl's, 0 for success.
            detail: libcurl's message.
        """
        error: Exception | None
        try:
            if code == 0:
                connection.classify()
            error = connection.failure(code, detail)
        except SeenError as raised:
            error = raised
        found = connection.classification
        if error is None and found is not None and found.decision is Decision.REDIRECT:
            error = self._follow_redirect(connection)
            if error is None:
                return
        self.close(connection)
        if error is None:
            self._apply_classification(connection)
        elif isinstance(error, PermanentError):
            self._on_permanent_error(connection, error)
        elif type(error) is TransientError:
            self.on_transient_error(connection, error)
        elif isinstance(error, WorkerResourcesError) and self._pool.connections:
            self._stop_adding_connections()
        else:
            raise error

    def _follow_redirect(self, connection: Connection) -> PermanentError | None:
        """Request the target of a redirect; return the error when it is not followed."""
        source = connection.source
        if connection.redirects >= self._options.max_redirects:
            return PermanentError(
                f"The origin redirects more than {self._options.max_redirects} times.",
                code="too_many_redirects",
            )
        try:
            location = connection.response.headers["location"]
            target = self._sources.resolve_redirect(connection.request.url, location)
            self._pool.check_host(target)
        except PermanentError as error:
            return error
        source.current_url = target
        self._stall.restart(time.monotonic())
        self._pool.follow_redirect(connection, target)
        return None

    def _apply_classification(self, connection: Connection) -> None:
        """Do what the response of a successful or deliberately ended request calls for."""
        found, segments = connection.classification, self._output.segments
        if found is None:
            return
        if connection.is_accepted:
            if segments.total is None and found.decision is Decision.FULL_BODY:
                segments.set_total(connection.segment.received)
            return
        if found.decision is Decision.COMPLETE:
            segments.set_total(connection.segment.received)
        elif found.decision is Decision.RETRY_WITH_DATE:
            self.if_range = self._output.description.date
        elif self._remove_source(connection.source, found.reason):
            return
        elif found.decision is Decision.RESOURCE_CHANGED:
            error = TransientError(f"It could not be continued: {found.reason}.", code="bad_range")
            self._restart_after(error)
        else:
            self._use_one_connection(found.reason)

    def _use_one_connection(self, reason: str) -> None:
        """Request no more ranges; the connection that reads from byte 0 reads to the end."""
        self.trust_ranges = self._policy.can_split = False
        logger.info("Job %s continues over one connection: %s", self._job_id, reason)
        self._extend_full_request()

    def _stop_adding_connections(self) -> None:
        """Continue with the open connections: the origin or this process cannot serve another."""
        self._policy.max_connections = len(self._pool.connections)
        self._extend_full_request()

    def _extend_full_request(self) -> None:
        """Let the request for the whole file read on over segments that no connection fetches."""
        for one in self._pool.connections:
            if one.request.first is None and one.is_accepted:
                self._output.segments.extend(one.segment)

    # ── failures ────────────────────────────────────────────────────────────────────────────────

    def _on_permanent_error(self, connection: Connection, error: PermanentError) -> None:
        """Handle a refused request; raise when there is no other way to fetch the file."""
        source = connection.source
        is_redirected = source.current_url != source.url
        if is_redirected and is_request_specific(error) and connection.redirects == 0:
            # The remembered target is gone; the given URL may redirect elsewhere by now.
            source.current_url = source.url
        elif self._adapt(connection, error) or self._remove_source(source, error):
            return
        elif self._pool.connections and is_request_specific(error):
            self._stop_adding_connections()
        elif connection.request.first is not None and error.code in _RANGE_REFUSALS:
            self._restart_after(TransientError(str(error), code=error.code))
        else:
            raise error

    def _adapt(self, connection: Connection, error: PermanentError) -> bool:
        """Adapt further requests if the refusal shows how; return whether it does."""
        request = connection.request
        adaptation = request.adaptation.after_refusal(
            error.code,
            connection.response.headers,
            is_whole=request.first is None,
            has_login=request.username is not None or self._options.netrc is not None,
            has_proxy_login="@" in self._options.proxy,
        )
        if adaptation is None or request.is_ftp:
            return False
        logger.info("Job %s repeats a request with %s: %s", self._job_id, adaptation, error)
        self._pool.adaptation = adaptation
        return True

    def on_transient_error(self, connection: Connection, error: TransientError) -> None:
        """Schedule a retry within this transfer; raise when the job has to wait in the database."""
        source = connection.source
        error.host = host_of(connection.request.url)
        if error.code in {"too_long", "bad_range"}:
            self._restart_after(error)
            return
        if connection.received == 0:
            source.current_url = source.url
            if source.active_requests == 0 and self._remove_source(source, error):
                return
            if self._pool.connections:
                self._stop_adding_connections()
                return
        if self._pool.connections:
            # The others continue; their progress counts for the whole transfer.
            self.retry_at = time.monotonic() + self._options.retry_pause
            return
        if self._output.segments.is_received:
            return  # the failure came after the last byte
        # Bytes that are about to be discarded are no progress.
        kept = self._output.segments.received if self.can_continue else 0
        delay = self._retries.next_delay(error, kept, time.monotonic())
        self._on_retry(error.code)
        logger.info("Job %s tries again in %.1f s: %s", self._job_id, delay, error)
        self.retry_at = time.monotonic() + delay

    def _remove_source(self, source: Source, reason: object) -> bool:
        """Send no more requests to a source; return False when there is no other one."""
        if not self._sources.has_others(source):
            return False
        if self._sources.remove(source):
            self._stall.restart(time.monotonic())
            self._output.add_note(f"a mirror is no longer used: {reason}")
        return True
