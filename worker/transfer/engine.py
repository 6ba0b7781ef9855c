"""Gets one file into its part file: who is asked for which segment, and what follows from the answers.

Knows nothing of queues, locks or SQL. Begins with one request, whose answer says what the file is; more
connections come in when they are worth it. Everything happens in the caller's thread; fsync and hashing
have threads of their own.
"""

from __future__ import annotations

import itertools
import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import Self

from domain.errors import (
    CancelledError,
    FencedError,
    PermanentError,
    SeenError,
    TransientError,
    WorkerResourcesError,
)
from domain.urls import host_of
from worker.storage.checkpoint import Checkpoint
from worker.storage.destination import Destination
from worker.transfer.connection import Connection
from worker.transfer.connection_policy import MIN_MEASURE_TIME, ConnectionPolicy
from worker.transfer.http import statuses
from worker.transfer.http.curl_loop import thread_loop
from worker.transfer.http.curl_options import CookieJars, buffer_size
from worker.transfer.http.decoding import Decoder
from worker.transfer.http.error_mapping import forbidden_address_error
from worker.transfer.http.request import Adaptation, Request
from worker.transfer.http.statuses import Meaning
from worker.transfer.interfaces import EngineResources, ProgressSink, TransferQuota, UnlimitedQuota
from worker.transfer.output_file import OutputFile, TransferResult
from worker.transfer.response_rules import (
    Classification,
    Decision,
    classify_response,
    is_request_specific,
)
from worker.transfer.retry_budget import RetryBudget
from worker.transfer.segments import Segment, SegmentMap
from worker.transfer.sources import Source, Sources
from worker.transfer.spec import TransferSpec
from worker.transfer.stall_detector import THROUGHPUT_WINDOW, MinimumThroughput, StallDetector
from worker.transfer.token_bucket import TokenBucket

logger = logging.getLogger(__name__)

#: A stop is heard, and a changed limit obeyed, within this many seconds.
_POLL_INTERVAL = 0.2
#: So many transfers of a process let libcurl work at once, each behind the lock that fell to it. libcurl
#: calls back for every 16 KiB: more threads than processors would only hand the interpreter to and fro.
_CURL_LOCKS = [threading.Lock() for _ in range(os.cpu_count() or 1)]
_next_curl_lock = itertools.cycle(_CURL_LOCKS)
#: A look is worth its price when about so many bytes have come.
_COALESCE_BYTES = 256 * 1024
#: … but they are not waited for longer than this, and not at all for less than that. Seconds.
_MAX_COALESCE = 0.25
_MIN_COALESCE = 0.005
#: For so long after its answer a connection is looked at whenever something comes. Seconds.
_WARM_UP = 0.3
#: What an origin may say to a range, and not to the whole file.
_RANGE_REFUSALS = frozenset({"http_400", "http_405", "http_501"})
#: How often one attempt begins the file anew before the job has to wait.
_MAX_RESTARTS = 2


class _RunningTransfers:
    """How many transfers run in this process."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self.count = 0

    def add(self, number: int) -> None:
        with self._mutex:
            self.count += number


_running = _RunningTransfers()


class Transfer:
    """One attempt to get what is missing of one file. Close it before the part file, or use `with`.

    Args:
        order: what is wanted.
        part: open, and locked by us.
        tracker: gets the byte counts, and carries the signal to stop.
        check_may_write: raises when the lease is lost; asked before every write.
        resources: what all transfers of the process share.
        quota: what this transfer may use of what is shared.
        add_note: adds a sentence to the job's history, when bytes are discarded for example.
    """

    def __init__(
        self,
        spec: TransferSpec,
        part: Destination,
        tracker: ProgressSink,
        *,
        resources: EngineResources,
        check_may_write: Callable[[], None],
        quota: TransferQuota | None = None,
        add_note: Callable[[str], None] = logger.info,
    ) -> None:
        self._spec, self._tracker = spec, tracker
        options = resources.options
        self._options, self._guard = options, resources.address_policy
        self._check_may_write, self._forward_note = check_may_write, add_note
        self._notes: list[str] = []
        self._output = OutputFile(
            spec,
            part,
            tracker,
            resources=resources,
            check_may_write=check_may_write,
            add_note=self._notes.append,
        )
        self._quota = quota or UnlimitedQuota()
        self._sources = Sources(spec, part.checkpoint.source)
        self._loop = thread_loop()
        self._curl_lock = next(_next_curl_lock)
        self._connections: list[Connection] = []
        self._retries = RetryBudget(options, time.monotonic())
        self._not_before = 0.0
        self._restarts = 0
        self._trust_ranges = True
        self._if_range: str | None = None
        self._adaptation = Adaptation()
        self._jars = CookieJars()
        self._policy = ConnectionPolicy(options, self._quota, spec.connections)
        self._stall = StallDetector(time.monotonic())
        self._min_throughput = MinimumThroughput(options.min_bytes_per_minute)
        self._bucket = TokenBucket(self._quota, time.monotonic())

    def run(self) -> TransferResult:
        """Get what is missing; return when the part file is complete.

        Raises:
            TransientError, PermanentError: what the origin or the network did.
            DiskFullError: no room.
            StoppedError, FencedError: what the stop signal or the lease said.
        """
        _running.add(1)
        try:
            self._resume()
            while self._connections or not self._segments.is_complete:
                self._check_may_continue()
                self._open_connections()
                self._process_events()
                self._emit_notes()
            return self._output.complete()
        except SeenError as error:
            self._drop_all()
            self._checkpoint_after(error)
            raise
        finally:
            _running.add(-1)
            self._drop_all()
            self._emit_notes()

    def digests(self, check: Callable[[], None]) -> dict[str, str]:
        """Return the digests of the complete file by algorithm: SHA-256 and those of the origin."""
        return self._output.digests(check)

    @property
    def origin_digests(self) -> tuple[str, ...]:
        """What the origin says the file's digests are, as ``algorithm:hex``."""
        return self._output.resource.digests

    @property
    def validators(self) -> list[str]:
        """What the origin tells its version of the file by, for people."""
        return self._output.validators

    def write_checkpoint(self) -> None:
        """Leave a checkpoint of all bytes that are there, so that the next attempt goes on from them."""
        self._output.write_checkpoint()

    def _checkpoint_after(self, error: SeenError) -> None:
        # After the others the job is over, and its part file goes with it; or it is another worker's.
        if not isinstance(error, CancelledError | PermanentError | FencedError):
            self._output.write_checkpoint(error)

    def restart_without_ranges(self, why: str) -> None:
        """Throw everything away; the next `run` fetches the file in one stream."""
        self._trust_ranges = False
        self._restart(why)

    def close(self) -> None:
        """Let go of the part file."""
        self._output.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # ── where to begin ──────────────────────────────────────────────────────────────────────────

    def _resume(self) -> None:
        """Go on from what is on disk and can be trusted, or from nothing."""
        if not self._segments.downloaded:  # else this very attempt wrote it
            self._output.resume(self._sources.first.digest, may_continue=self._trust_ranges)
            self._if_range = self._resource.validator

    def _start_from(self, connection: Connection) -> None:
        """Take an answer for the whole file as what the file is."""
        response = connection.response
        if self._connections == [connection] and not self._segments.is_untouched:
            connection.segment = self._output.reset_segments()
        decoded = self._spec.decode and response.is_encoded
        connection.decoder = Decoder(response.headers["content-encoding"]) if decoded else None
        if response.status == 206 and response.resource_size is None:
            self._note(
                "the origin sent what it calls a part, and not which: it is taken for the file"
            )
        total = self._output.start_from(response, connection.source.digest, decoded=decoded)
        connection.expected_end = None if decoded else response.body_end
        self._if_range = self._resource.validator
        says_ranges = response.headers.get("accept-ranges", "").lower() == "bytes"
        self._policy.can_split = says_ranges and total is not None and self._can_continue

    def _restart(self, why: str) -> None:
        """Throw away what is there: it cannot be joined to what the origin has."""
        self._drop_all()
        self._if_range, self._policy.can_split = None, False
        self._output.restart(why)

    @property
    def _segments(self) -> SegmentMap:
        return self._output.segments

    @property
    def _resource(self) -> Checkpoint:
        return self._output.resource

    # ── who fetches what ────────────────────────────────────────────────────────────────────────

    def _open_connections(self) -> None:
        """Open the connections that are worth it."""
        if time.monotonic() < self._not_before:
            return
        if not (self._connections or self._segments.is_untouched or self._can_continue):
            self._restart("nothing vouches for what another answer would be joined to")
        while (segment := self._next_segment()) is not None:
            self._open(segment)

    @property
    def _can_continue(self) -> bool:
        return self._trust_ranges and self._resource.validator is not None

    def _next_segment(self) -> Segment | None:
        """Own the next segment to fetch; None when no (further) connection is worth it or allowed."""
        running = len(self._connections)
        if running == 0:
            return None if self._segments.is_complete else self._segments.claim_next()
        if not self._policy.may_add(running) or self._is_throttled:
            return None
        has_free = self._segments.has_unclaimed()
        slowest_to_finish = None if has_free else self._policy.slowest_to_finish(self._connections)
        if not (has_free or slowest_to_finish) or self._policy.granted() <= running:
            return None
        if slowest_to_finish is None:
            return self._segments.claim_next()
        return self._segments.split(
            slowest_to_finish.segment, self._policy.max_connections if running == 1 else 2
        )

    def _open(self, segment: Segment) -> None:
        """Ask for what is missing of `segment`."""
        source = self._sources.least_busy() if self._segments.downloaded else self._sources.first
        request = Request(url=source.current_url)
        if self._segments.downloaded or segment.start > 0:
            last = None if segment.end is None else segment.end - 1
            # Whether a mirror's file is the same is told by its answer: it may know another tag.
            if_range = self._if_range if self._output.is_from(source.digest) else None
            request = replace(request, first=segment.position, last=last, if_range=if_range)
        self._check_host(request.url)
        connection = Connection(
            source,
            request,
            segment,
            on_response=self._on_response,
            write=self._write,
            try_consume=self._bucket.try_consume,
        )
        source.active_requests += 1
        self._connections.append(connection)
        self._send(connection)

    def _check_host(self, url: str) -> None:
        """With a proxy it is the proxy that we connect to: the guard at the socket sees nothing else."""
        host = host_of(url) or ""
        if self._options.proxy and not self._guard.allows_host(host):
            raise forbidden_address_error(host)

    def _send(self, connection: Connection) -> None:
        url = connection.request.url
        username, password = self._sources.login_for(url)
        connection.request = replace(
            connection.request,
            headers=self._sources.headers_for(url),
            cookies=self._sources.cookies_for(url),
            username=username,
            password=password,
            proxy=self._options.proxy,
            adaptation=self._adaptation,
        )
        connection.attach(
            self._loop.acquire(), self._options, self._guard, buffer_size(_running.count)
        )
        self._jars.attach(connection.handle, url)
        self._loop.start(connection.handle)

    # ── what comes back ─────────────────────────────────────────────────────────────────────────

    def _process_events(self) -> None:
        if not self._connections:
            self._tracker.stop.wait(
                min(_POLL_INTERVAL, max(0.0, self._not_before - time.monotonic()))
            )
            self._stall = StallDetector(time.monotonic())
            return
        began = time.monotonic()
        events = self._wait()
        self._enforce_min_throughput(time.monotonic() - began)
        before = self._segments.downloaded
        self._bucket.refill(time.monotonic())
        with self._curl_lock:
            for connection in self._connections:
                if connection.can_resume and self._bucket.seconds_until_ready() == 0:
                    connection.resume()
            self._loop.process(events)
            for connection in self._connections:
                connection.flush()
        for connection in self._connections:
            connection.close_sockets()
        for handle, code, detail in self._loop.take_finished():
            for connection in [one for one in self._connections if one.handle is handle]:
                connection.is_received = code == 0
                if not connection.has_undecoded or code != 0:
                    self._on_finished(connection, code, detail)
        self._decode()
        self._output.checkpoint_if_due()
        self._check_speeds()
        self._coalesce(self._segments.downloaded - before)

    def _decode(self) -> None:
        """Undo a body's encoding further. Not while libcurl works: others wait for their turn."""
        for connection in [one for one in self._connections if one.has_undecoded]:
            connection.decode()
            is_done = connection.is_received and not connection.has_undecoded
            if is_done or connection.error is not None:
                self._on_finished(connection, 0, "")

    def _coalesce(self, moved: int) -> None:
        """Let more bytes arrive before the next look: many slow downloads share one interpreter.

        Not while somebody is only about to answer: what follows from it would come too late.
        """
        now = time.monotonic()
        settled = all(
            one.is_accepted and now - one.accepted_at >= _WARM_UP for one in self._connections
        )
        if self._connections and settled and 0 < moved < _COALESCE_BYTES:
            speed = sum(one.stall.average(now, one.received) for one in self._connections)
            pause = min(_MAX_COALESCE, _COALESCE_BYTES / max(speed, 1.0))
            if pause >= _MIN_COALESCE:
                time.sleep(pause)
                self._enforce_min_throughput(pause)

    def _on_response(self, connection: Connection) -> bool:
        """Judge an answer; say whether its body is of use.

        Called by libcurl: it must not open or end other requests.
        """
        is_mirror = not self._output.is_from(connection.source.digest)
        classification = classify_response(
            connection.request, connection.response, self._resource, is_mirror=is_mirror
        )
        connection.classification = classification
        if classification.decision is Decision.FULL_BODY:
            if len(self._connections) > 1 and not self._output.is_same_representation(
                connection.response
            ):
                connection.classification = Classification(
                    Decision.RESOURCE_CHANGED, "the file is another one now"
                )
                return False
            self._start_from(connection)
            return True
        if classification.decision is Decision.REQUESTED_RANGE:
            self._accept_part(connection)
            return True
        refused = classification.decision in {Decision.RANGE_IGNORED, Decision.RESOURCE_CHANGED}
        is_whole = statuses.meaning(connection.response.status) is Meaning.FILE
        if refused and is_whole and self._connections == [connection]:
            # The whole file is on its way already, and nothing else is: take it.
            self._switch_to_full_body(connection, classification.reason)
            return True
        return False

    def _accept_part(self, connection: Connection) -> None:
        span = connection.response.content_range
        if span is None:
            raise ValueError("a part without a range was accepted")
        connection.expected_end = span[1] + 1
        if self._segments.total is None and span[2] is not None:
            self._output.set_total(span[2])
        # It has done as it was asked: it does ranges.
        self._policy.can_split = (
            self._segments.total is not None and self._resource.validator is not None
        )

    def _switch_to_full_body(self, connection: Connection, why: str) -> None:
        self._connections.clear()
        self._restart(why)
        self._connections.append(connection)
        connection.segment = self._segments.claim_first()
        connection.request = replace(connection.request, first=None, last=None)
        connection.classification = Classification(Decision.FULL_BODY)
        self._start_from(connection)

    def _write(self, connection: Connection, chunks: list[bytes]) -> None:
        self._quota.record_bytes(self._output.write(connection.segment, chunks))

    def _on_finished(self, connection: Connection, code: int, detail: str) -> None:
        """Deal with a request that is over, whichever way."""
        error: Exception | None
        try:
            if code == 0:
                connection.classify()
            error = connection.failure(code, detail)
        except SeenError as raised:
            error = raised
        decision = connection.classification.decision if connection.classification else None
        if error is None and decision is Decision.REDIRECT:
            error = self._follow_redirect(connection)
            if error is None:
                return
        self._drop(connection)
        if error is None:
            self._apply_classification(connection)
        elif isinstance(error, PermanentError):
            self._on_permanent_error(connection, error)
        elif type(error) is TransientError:
            self._on_transient_error(connection, error)
        elif isinstance(error, WorkerResourcesError) and self._connections:
            self._cap_connections()  # this process cannot carry another connection now
        else:
            raise error

    def _follow_redirect(self, connection: Connection) -> PermanentError | None:
        """Go where a redirect leads; return why not, if not."""
        source = connection.source
        if connection.redirects >= self._options.max_redirects:
            return PermanentError(
                f"The origin redirects more than {self._options.max_redirects} times.",
                code="too_many_redirects",
            )
        try:
            location = connection.response.headers["location"]
            target = self._sources.resolve_redirect(connection.request.url, location)
            self._check_host(target)
        except PermanentError as error:
            return error
        source.current_url = target
        self._stall = StallDetector(time.monotonic())
        self._loop.release(connection.handle)
        connection.follow_redirect(replace(connection.request, url=target))
        self._send(connection)
        return None

    def _apply_classification(self, connection: Connection) -> None:
        """A request went well, or was ended by us: do what its answer means."""
        classification = connection.classification
        if classification is None:
            return
        if connection.is_accepted:
            if self._segments.total is None and classification.decision is Decision.FULL_BODY:
                self._segments.set_total(connection.segment.position)
            return
        if classification.decision is Decision.COMPLETE:
            self._segments.set_total(connection.segment.position)
        elif classification.decision is Decision.RETRY_WITH_DATE:
            self._if_range = self._resource.date
        elif self._drop_source(connection.source, classification.reason):
            return
        elif classification.decision is Decision.RESOURCE_CHANGED:
            self._restart_after(
                TransientError(
                    f"It could not be continued: {classification.reason}.", code="bad_range"
                )
            )
        else:
            self._use_one_stream(classification.reason)

    def _use_one_stream(self, why: str) -> None:
        """Trust this origin's ranges no more; who reads the file from its start goes on to its end."""
        self._trust_ranges = self._policy.can_split = False
        logger.info("Job %s goes on in one stream: %s", self._tracker.job_id, why)
        self._extend_full_stream()

    def _extend_full_stream(self) -> None:
        """Whoever reads the file from its start takes over what follows and nobody else fetches."""
        for one in self._connections:
            if one.request.first is None and one.is_accepted:
                self._segments.extend(one.segment)

    def _cap_connections(self) -> None:
        """It was one connection too many, it seems: go on with those there are."""
        self._policy.max_connections = len(self._connections)
        self._extend_full_stream()

    def _restart_after(self, error: TransientError) -> None:
        self._restarts += 1
        if self._restarts > _MAX_RESTARTS:
            raise error
        # Once is enough: it may be no change at all, but this origin's way of doing ranges.
        self._trust_ranges = False
        self._restart(str(error).rstrip("."))

    # ── failures ────────────────────────────────────────────────────────────────────────────────

    def _on_permanent_error(self, connection: Connection, error: PermanentError) -> None:
        """The origin will not have this request; raise, unless there are others to go on with."""
        source = connection.source
        if (
            source.current_url != source.url
            and is_request_specific(error)
            and connection.redirects == 0
        ):
            # Where the redirect led has gone; the given URL may lead elsewhere by now.
            source.current_url = source.url
        elif self._adapt(connection, error) or self._drop_source(source, error):
            return
        elif self._connections and is_request_specific(error):
            self._cap_connections()
        elif connection.request.first is not None and error.code in _RANGE_REFUSALS:
            self._restart_after(TransientError(str(error), code=error.code))
        else:
            raise error

    def _adapt(self, connection: Connection, error: PermanentError) -> bool:
        """Have the next request put differently, where the refusal says how; False where it does not."""
        request = connection.request
        adapted = request.adaptation.after_refusal(
            error.code,
            connection.response.headers,
            is_whole=request.first is None,
            has_login=request.username is not None or self._options.netrc is not None,
            has_proxy_login="@" in self._options.proxy,
        )
        if adapted is None or request.is_ftp:
            return False
        logger.info("Job %s asks once more, as %s: %s", self._tracker.job_id, adapted, error)
        self._adaptation = adapted
        return True

    def _on_transient_error(self, connection: Connection, error: TransientError) -> None:
        """A request failed in a way that may pass; raise when its time has come to wait in SQL."""
        source = connection.source
        error.host = host_of(connection.request.url)
        if error.code in {"too_long", "bad_range"}:
            self._restart_after(error)
            return
        if connection.received == 0:
            source.current_url = source.url
            if source.active_requests == 0 and self._drop_source(source, error):
                return
            if self._connections:
                self._cap_connections()
                return
        if self._connections:
            # The others go on; their progress is this transfer's.
            self._not_before = time.monotonic() + self._options.retry_pause
            return
        if self._segments.is_complete:
            return  # what broke, did so after the last byte
        # What is about to be thrown away is no progress.
        kept = self._segments.downloaded if self._can_continue else 0
        pause = self._retries.next_delay(error, kept, time.monotonic())
        logger.info("Job %s tries again in %.1f s: %s", self._tracker.job_id, pause, error)
        self._not_before = time.monotonic() + pause

    def _drop_source(self, source: Source, why: object) -> bool:
        """Ask a source no more; False when there is no other one."""
        if not self._sources.has_others(source):
            return False
        if self._sources.remove(source):
            self._stall = StallDetector(time.monotonic())
            self._note(f"a mirror is left out: {why}")
        return True

    def _drop(self, connection: Connection) -> None:
        """Take a request out, running or not; what it did not fetch is free again."""
        connection.source.active_requests -= 1
        self._connections.remove(connection)
        self._segments.release(connection.segment)
        self._loop.release(connection.handle)
        connection.close_sockets()

    def _drop_all(self) -> None:
        for connection in list(self._connections):
            self._drop(connection)

    # ── speed ───────────────────────────────────────────────────────────────────────────────────

    def _wait(self) -> list[tuple[int, int]]:
        """Wait for bytes, or for the time when they may be taken."""
        # A single connection is looked at as soon as its speed says whether others are worth it.
        timeout = _POLL_INTERVAL if len(self._connections) > 1 else MIN_MEASURE_TIME
        if self._is_throttled:
            timeout = min(timeout, self._bucket.seconds_until_ready())
        return self._loop.wait(timeout)

    def _enforce_min_throughput(self, seconds: float) -> None:
        """Give up what gets next to nothing: it would hold the worker's place for as long as it likes.

        A wait counts while a body is on its way; for an answer there are times of their own.
        """
        if self._is_throttled or not any(one.is_accepted for one in self._connections):
            return
        moved = self._min_throughput.add_wait(seconds, self._segments.downloaded)
        if moved is not None:
            raise TransientError(
                f"The origin sent {moved:,} bytes in {THROUGHPUT_WINDOW:g} seconds; the least is "
                f"{self._options.min_bytes_per_minute:,} (SEEN_MIN_BYTES_PER_MINUTE).",
                code="too_slow",
            )

    @property
    def _is_throttled(self) -> bool:
        return any(one.is_paused or one.has_undecoded for one in self._connections)

    def _check_speeds(self) -> None:
        """End what stands still, and what is so slow that another connection would be done sooner."""
        now = time.monotonic()
        slow = float(self._options.low_speed_limit)
        for connection in list(self._connections):
            waits = connection.is_paused or connection.has_undecoded
            connection.stall.sample(now, connection.received, slow, is_waiting=waits)
            timeout = self._options.low_speed_time
            if connection.received == 0 and len(self._connections) > 1:
                # Not heard of yet, and others are: its segment need not wait as long as a whole file.
                timeout = min(timeout, self._options.connect_timeout)
            if now - connection.stall.slow_since >= timeout:
                self._drop(connection)
                self._on_transient_error(connection, _stall_error(slow, timeout))
        self._stall.sample(now, self._segments.downloaded, slow, is_waiting=self._is_throttled)
        if now - self._stall.slow_since >= 2 * self._options.low_speed_time:
            # Each answer may be quick, and bring a byte.
            raise _stall_error(slow, 2 * self._options.low_speed_time)
        if self._policy.may_add(len(self._connections)) and not self._is_throttled:
            self._replace_stalled()

    def _replace_stalled(self) -> None:
        """A connection is idle: take the segment of one that crawls."""
        stalled = self._policy.stalled(self._connections)
        if stalled is not None and not self._segments.has_unclaimed():
            logger.info("Job %s gives a slow connection's segment to another", self._tracker.job_id)
            self._drop(stalled)

    # ── the rest ────────────────────────────────────────────────────────────────────────────────

    def _check_may_continue(self) -> None:
        self._tracker.stop.raise_if_set()
        self._check_may_write()

    def _note(self, text: str) -> None:
        """Have something told when libcurl is not at work: it may take its time."""
        self._notes.append(text)

    def _emit_notes(self) -> None:
        while self._notes:
            self._forward_note(self._notes.pop(0))


def _stall_error(slow: float, seconds: float) -> TransientError:
    return TransientError(
        f"The origin sent less than {slow:g} bytes a second for {seconds:g} seconds.",
        code="timeout",
    )
