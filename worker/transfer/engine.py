"""Gets one file into its part file: who is asked for which piece, and what follows from the answers.

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
from concurrent.futures import ThreadPoolExecutor
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
from worker.progress.reporter import DownloadTracker
from worker.storage.checkpoint import Checkpoint
from worker.storage.disk_space import Space
from worker.storage.part_file import PartFile
from worker.transfer.connection import Exchange
from worker.transfer.connection_policy import MEASURE, Sharing
from worker.transfer.http import statuses
from worker.transfer.http.cookies import CookieJars
from worker.transfer.http.curl_loop import thread_loop
from worker.transfer.http.curl_options import Request, TransferOptions, buffer_size
from worker.transfer.http.decoding import Decoder
from worker.transfer.http.error_mapping import forbidden_address
from worker.transfer.http.request_adaptation import Adaptation
from worker.transfer.http.response import AddressGuard
from worker.transfer.http.statuses import Meaning
from worker.transfer.output_file import Fetched, Target
from worker.transfer.quota import Allowance, Unlimited
from worker.transfer.response_rules import Judgement, Ruling, judge, unexpected
from worker.transfer.retry_budget import ShortRetries
from worker.transfer.segments import Piece, Pieces
from worker.transfer.sources import Source, Sources
from worker.transfer.spec import Order
from worker.transfer.stall_detector import FLOOR_WINDOW, SpeedFloor, StallWatch
from worker.transfer.token_bucket import Throttle

logger = logging.getLogger(__name__)

#: A stop is heard, and a changed limit obeyed, within this many seconds.
_LOOK_UP = 0.2
#: So many transfers of a process let libcurl work at once, each behind the lock that fell to it. libcurl
#: calls back for every 16 KiB: more threads than processors would only hand the interpreter to and fro.
_TURNS = [threading.Lock() for _ in range(os.cpu_count() or 1)]
_turns = itertools.cycle(_TURNS)
#: A look is worth its price when about so many bytes have come.
_GATHER = 256 * 1024
#: … but they are not waited for longer than this, and not at all for less than that. Seconds.
_LONGEST_GATHER = 0.25
_SHORTEST_GATHER = 0.005
#: For so long after its answer a connection is looked at whenever something comes. Seconds.
_SETTLED = 0.3
#: What an origin may say to a range, and not to the whole file.
_NOT_IN_PARTS = frozenset({"http_400", "http_405", "http_501"})
#: How often one attempt begins the file anew before the job has to wait.
_MOST_RESTARTS = 2


class _Running:
    """How many transfers run in this process."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self.count = 0

    def add(self, number: int) -> None:
        with self._mutex:
            self.count += number


_running = _Running()


class Transfer:
    """One attempt to get what is missing of one file. Close it before the part file, or use `with`.

    Args:
        order: what is wanted.
        part: open, and locked by us.
        tracker: gets the byte counts, and carries the signal to stop.
        may_write: raises when the lease is lost; asked before every write.
        checkpoints: runs fsyncs.
        hashing: computes digests.
        allowance: what this transfer may use of what is shared.
        note: gets a sentence when bytes are thrown away, or something else happens that a reader of the
            job's history should know.
    """

    def __init__(
        self,
        order: Order,
        part: PartFile,
        tracker: DownloadTracker,
        *,
        options: TransferOptions,
        guard: AddressGuard,
        space: Space,
        may_write: Callable[[], None],
        checkpoints: ThreadPoolExecutor,
        hashing: ThreadPoolExecutor,
        allowance: Allowance | None = None,
        note: Callable[[str], None] = logger.info,
    ) -> None:
        self._order, self._tracker = order, tracker
        self._options, self._guard = options, guard
        self._may_write, self._tell = may_write, note
        self._notes: list[str] = []
        self._target = Target(
            order,
            part,
            tracker,
            options=options,
            space=space,
            may_write=may_write,
            checkpoints=checkpoints,
            hashing=hashing,
            note=self._notes.append,
        )
        self._allowance = allowance or Unlimited()
        self._sources = Sources(order, part.checkpoint.source)
        self._loop = thread_loop()
        self._turn = next(_turns)
        self._exchanges: list[Exchange] = []
        self._retries = ShortRetries(options, time.monotonic())
        self._not_before = 0.0
        self._restarts = 0
        self._trust_ranges = True
        self._condition: str | None = None
        self._adaptation = Adaptation()
        self._jars = CookieJars()
        self._sharing = Sharing(options, self._allowance, order.connections)
        self._watch = StallWatch(time.monotonic())
        self._floor = SpeedFloor(options.min_bytes_per_minute)
        self._throttle = Throttle(self._allowance, time.monotonic())

    def run(self) -> Fetched:
        """Get what is missing; return when the part file is complete.

        Raises:
            TransientError, PermanentError: what the origin or the network did.
            DiskFullError: no room.
            StoppedError, FencedError: what the stop signal or the lease said.
        """
        _running.add(1)
        try:
            self._resume()
            while self._exchanges or not self._pieces.is_complete:
                self._may_go_on()
                self._assign()
                self._step()
                self._tell_notes()
            return self._target.complete()
        except SeenError as error:
            self._drop_all()
            self._keep_after(error)
            raise
        finally:
            _running.add(-1)
            self._drop_all()
            self._tell_notes()

    def digests(self, check: Callable[[], None]) -> dict[str, str]:
        """Return the digests of the complete file, by algorithm: SHA-256 and those that are promised."""
        return self._target.digests(check)

    @property
    def promised_digests(self) -> tuple[str, ...]:
        """What the origin says the file's digests are, as ``algorithm:hex``."""
        return self._target.begun.digests

    @property
    def validators(self) -> list[str]:
        """What the origin tells its version of the file by, for people."""
        return self._target.validators

    def keep(self) -> None:
        """Leave a checkpoint of all bytes that are there, so that the next attempt goes on from them."""
        self._target.keep()

    def _keep_after(self, error: SeenError) -> None:
        # After the others the job is over, and its part file goes with it; or it is another worker's.
        if not isinstance(error, CancelledError | PermanentError | FencedError):
            self._target.keep(error)

    def begin_anew(self, why: str) -> None:
        """Throw everything away; the next `run` fetches the file in one stream."""
        self._trust_ranges = False
        self._start_over(why)

    def close(self) -> None:
        """Let go of the part file."""
        self._target.close()

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
        if not self._pieces.count:  # else this very attempt wrote it
            self._target.resume(self._sources.first.digest, may_continue=self._trust_ranges)
            self._condition = self._begun.validator

    def _begin(self, exchange: Exchange) -> None:
        """Take an answer for the whole file as what the file is."""
        answer = exchange.answer
        if self._exchanges == [exchange] and not self._pieces.is_untouched:
            exchange.piece = self._target.forget_layout()
        decoded = self._order.decode and answer.is_encoded
        exchange.decoder = Decoder(answer.headers["content-encoding"]) if decoded else None
        if answer.status == 206 and answer.promised_size is None:
            self._note(
                "the origin sent what it calls a part, and not which: it is taken for the file"
            )
        total = self._target.begin(answer, exchange.source.digest, decoded=decoded)
        exchange.promised = None if decoded else answer.promised_end
        self._condition = self._begun.validator
        says_ranges = answer.headers.get("accept-ranges", "").lower() == "bytes"
        self._sharing.is_possible = says_ranges and total is not None and self._can_continue

    def _start_over(self, why: str) -> None:
        """Throw away what is there: it cannot be joined to what the origin has."""
        self._drop_all()
        self._condition, self._sharing.is_possible = None, False
        self._target.start_over(why)

    @property
    def _pieces(self) -> Pieces:
        return self._target.pieces

    @property
    def _begun(self) -> Checkpoint:
        return self._target.begun

    # ── who fetches what ────────────────────────────────────────────────────────────────────────

    def _assign(self) -> None:
        """Open the connections that are worth it."""
        if time.monotonic() < self._not_before:
            return
        if not (self._exchanges or self._pieces.is_untouched or self._can_continue):
            self._start_over("nothing vouches for what another answer would be joined to")
        while (piece := self._next_piece()) is not None:
            self._open(piece)

    @property
    def _can_continue(self) -> bool:
        return self._trust_ranges and self._begun.validator is not None

    def _next_piece(self) -> Piece | None:
        """Own the next piece to fetch; None when no (further) connection is worth it or allowed."""
        running = len(self._exchanges)
        if running == 0:
            return None if self._pieces.is_complete else self._pieces.take()
        if not self._sharing.has_place(running) or self._is_throttled:
            return None
        has_free = self._pieces.has_free()
        busiest = None if has_free else self._sharing.busiest(self._exchanges)
        if not (has_free or busiest) or self._sharing.allowed() <= running:
            return None
        if busiest is None:
            return self._pieces.take()
        return self._pieces.split(busiest.piece, self._sharing.most if running == 1 else 2)

    def _open(self, piece: Piece) -> None:
        """Ask for what is missing of `piece`."""
        source = self._sources.pick() if self._pieces.count else self._sources.first
        request = Request(url=source.current)
        if self._pieces.count or piece.start > 0:
            last = None if piece.end is None else piece.end - 1
            # Whether a mirror's file is the same is told by its answer: it may know another tag.
            condition = self._condition if self._target.was_begun_at(source.digest) else None
            request = replace(request, first=piece.position, last=last, condition=condition)
        self._check_host(request.url)
        exchange = Exchange(
            source,
            request,
            piece,
            on_answer=self._on_answer,
            write=self._write,
            may_take=self._throttle.take,
        )
        source.requests += 1
        self._exchanges.append(exchange)
        self._send(exchange)

    def _check_host(self, url: str) -> None:
        """With a proxy it is the proxy that we connect to: the guard at the socket sees nothing else."""
        host = host_of(url) or ""
        if self._options.proxy and not self._guard.allows_host(host):
            raise forbidden_address(host)

    def _send(self, exchange: Exchange) -> None:
        url = exchange.request.url
        username, password = self._sources.login_for(url)
        exchange.request = replace(
            exchange.request,
            headers=self._sources.headers_for(url),
            cookies=self._sources.cookies_for(url),
            username=username,
            password=password,
            proxy=self._options.proxy,
            adaptation=self._adaptation,
        )
        exchange.attach(
            self._loop.handle(), self._options, self._guard, buffer_size(_running.count)
        )
        self._jars.attach(exchange.handle, url)
        self._loop.start(exchange.handle)

    # ── what comes back ─────────────────────────────────────────────────────────────────────────

    def _step(self) -> None:
        if not self._exchanges:
            self._tracker.stop.wait(min(_LOOK_UP, max(0.0, self._not_before - time.monotonic())))
            self._watch = StallWatch(time.monotonic())
            return
        began = time.monotonic()
        events = self._wait()
        self._keep_to_floor(time.monotonic() - began)
        before = self._pieces.count
        self._throttle.fill(time.monotonic())
        with self._turn:
            for exchange in self._exchanges:
                if exchange.may_go_on and self._throttle.pause() == 0:
                    exchange.go_on()
            self._loop.act(events)
            for exchange in self._exchanges:
                exchange.flush()
        for exchange in self._exchanges:
            exchange.close_sockets()
        for handle, code, detail in self._loop.ended():
            for exchange in [one for one in self._exchanges if one.handle is handle]:
                exchange.is_received = code == 0
                if not exchange.has_undecoded or code != 0:
                    self._ended(exchange, code, detail)
        self._decode()
        self._target.checkpoint_when_due()
        self._look_at_speeds()
        self._gather(self._pieces.count - before)

    def _decode(self) -> None:
        """Undo a body's encoding further. Not while libcurl works: others wait for their turn."""
        for exchange in [one for one in self._exchanges if one.has_undecoded]:
            exchange.decode()
            is_done = exchange.is_received and not exchange.has_undecoded
            if is_done or exchange.error is not None:
                self._ended(exchange, 0, "")

    def _gather(self, moved: int) -> None:
        """Let more bytes arrive before the next look: many slow downloads share one interpreter.

        Not while somebody is only about to answer: what follows from it would come too late.
        """
        now = time.monotonic()
        settled = all(
            one.is_accepted and now - one.accepted_at >= _SETTLED for one in self._exchanges
        )
        if self._exchanges and settled and 0 < moved < _GATHER:
            speed = sum(one.watch.average(now, one.received) for one in self._exchanges)
            pause = min(_LONGEST_GATHER, _GATHER / max(speed, 1.0))
            if pause >= _SHORTEST_GATHER:
                time.sleep(pause)
                self._keep_to_floor(pause)

    def _on_answer(self, exchange: Exchange) -> bool:
        """Judge an answer; say whether its body is of use.

        Called by libcurl: it must not open or end other requests.
        """
        is_mirror = not self._target.was_begun_at(exchange.source.digest)
        judgement = judge(exchange.request, exchange.answer, self._begun, is_mirror=is_mirror)
        exchange.judgement = judgement
        if judgement.ruling is Ruling.WHOLE:
            if len(self._exchanges) > 1 and not self._target.was_begun_with(exchange.answer):
                exchange.judgement = Judgement(Ruling.CHANGED, "the file is another one now")
                return False
            self._begin(exchange)
            return True
        if judgement.ruling is Ruling.PART:
            self._accept_part(exchange)
            return True
        refused = judgement.ruling in {Ruling.NO_RANGES, Ruling.CHANGED}
        is_whole = statuses.meaning(exchange.answer.status) is Meaning.FILE
        if refused and is_whole and self._exchanges == [exchange]:
            # The whole file is on its way already, and nothing else is: take it.
            self._take_whole(exchange, judgement.why)
            return True
        return False

    def _accept_part(self, exchange: Exchange) -> None:
        span = exchange.answer.content_range
        if span is None:
            raise ValueError("a part without a range was accepted")
        exchange.promised = span[1] + 1
        if self._pieces.total is None and span[2] is not None:
            self._target.learn_total(span[2])
        # It has done as it was asked: it does ranges.
        self._sharing.is_possible = (
            self._pieces.total is not None and self._begun.validator is not None
        )

    def _take_whole(self, exchange: Exchange, why: str) -> None:
        self._exchanges.clear()
        self._start_over(why)
        self._exchanges.append(exchange)
        exchange.piece = self._pieces.first()
        exchange.request = replace(exchange.request, first=None, last=None)
        exchange.judgement = Judgement(Ruling.WHOLE)
        self._begin(exchange)

    def _write(self, exchange: Exchange, chunks: list[bytes]) -> None:
        self._allowance.count(self._target.write(exchange.piece, chunks))

    def _ended(self, exchange: Exchange, code: int, detail: str) -> None:
        """Deal with a request that is over, whichever way."""
        error: Exception | None
        try:
            if code == 0:
                exchange.judge()
            error = exchange.failure(code, detail)
        except SeenError as raised:
            error = raised
        ruling = exchange.judgement.ruling if exchange.judgement else None
        if error is None and ruling is Ruling.ELSEWHERE:
            error = self._follow(exchange)
            if error is None:
                return
        self._drop(exchange)
        if error is None:
            self._obey_ruling(exchange)
        elif isinstance(error, PermanentError):
            self._refused(exchange, error)
        elif type(error) is TransientError:
            self._failed(exchange, error)
        elif isinstance(error, WorkerResourcesError) and self._exchanges:
            self._ask_for_no_more()  # this process cannot carry another connection now
        else:
            raise error

    def _follow(self, exchange: Exchange) -> PermanentError | None:
        """Go where a redirect leads; return why not, if not."""
        source = exchange.source
        if exchange.redirects >= self._options.max_redirects:
            return PermanentError(
                f"The origin redirects more than {self._options.max_redirects} times.",
                code="too_many_redirects",
            )
        try:
            location = exchange.answer.headers["location"]
            target = self._sources.redirect(exchange.request.url, location)
            self._check_host(target)
        except PermanentError as error:
            return error
        source.current = target
        self._watch = StallWatch(time.monotonic())
        self._loop.stop(exchange.handle)
        exchange.redirected(replace(exchange.request, url=target))
        self._send(exchange)
        return None

    def _obey_ruling(self, exchange: Exchange) -> None:
        """A request went well, or was ended by us: do what its answer means."""
        judgement = exchange.judgement
        if judgement is None:
            return
        if exchange.is_accepted:
            if self._pieces.total is None and judgement.ruling is Ruling.WHOLE:
                self._pieces.set_total(exchange.piece.position)
            return
        if judgement.ruling is Ruling.COMPLETE:
            self._pieces.set_total(exchange.piece.position)
        elif judgement.ruling is Ruling.BY_DATE:
            self._condition = self._begun.date
        elif self._leave_out(exchange.source, judgement.why):
            return
        elif judgement.ruling is Ruling.CHANGED:
            self._begin_again(
                TransientError(f"It could not be continued: {judgement.why}.", code="bad_range")
            )
        else:
            self._use_one_stream(judgement.why)

    def _use_one_stream(self, why: str) -> None:
        """Trust this origin's ranges no more; who reads the file from its start goes on to its end."""
        self._trust_ranges = self._sharing.is_possible = False
        logger.info("Job %s goes on in one stream: %s", self._tracker.job_id, why)
        self._read_on()

    def _read_on(self) -> None:
        """Whoever reads the file from its start takes over what follows and nobody else fetches."""
        for one in self._exchanges:
            if one.request.first is None and one.is_accepted:
                self._pieces.extend(one.piece)

    def _ask_for_no_more(self) -> None:
        """It was one connection too many, it seems: go on with those there are."""
        self._sharing.most = len(self._exchanges)
        self._read_on()

    def _begin_again(self, error: TransientError) -> None:
        self._restarts += 1
        if self._restarts > _MOST_RESTARTS:
            raise error
        # Once is enough: it may be no change at all, but this origin's way of doing ranges.
        self._trust_ranges = False
        self._start_over(str(error).rstrip("."))

    # ── failures ────────────────────────────────────────────────────────────────────────────────

    def _refused(self, exchange: Exchange, error: PermanentError) -> None:
        """The origin will not have this request; raise, unless there are others to go on with."""
        source = exchange.source
        if source.current != source.url and unexpected(error) and exchange.redirects == 0:
            # Where the redirect led has gone; the given URL may lead elsewhere by now.
            source.current = source.url
        elif self._adapt(exchange, error) or self._leave_out(source, error):
            return
        elif self._exchanges and unexpected(error):
            self._ask_for_no_more()
        elif exchange.request.first is not None and error.code in _NOT_IN_PARTS:
            self._begin_again(TransientError(str(error), code=error.code))
        else:
            raise error

    def _adapt(self, exchange: Exchange, error: PermanentError) -> bool:
        """Have the next request put differently, where the refusal says how; False where it does not."""
        request = exchange.request
        adapted = request.adaptation.after_refusal(
            error.code,
            exchange.answer.headers,
            is_whole=request.first is None,
            has_login=request.username is not None or self._options.netrc is not None,
            has_proxy_login="@" in self._options.proxy,
        )
        if adapted is None or request.is_ftp:
            return False
        logger.info("Job %s asks once more, as %s: %s", self._tracker.job_id, adapted, error)
        self._adaptation = adapted
        return True

    def _failed(self, exchange: Exchange, error: TransientError) -> None:
        """A request failed in a way that may pass; raise when its time has come to wait in SQL."""
        source = exchange.source
        error.host = host_of(exchange.request.url)
        if error.code in {"too_long", "bad_range"}:
            self._begin_again(error)
            return
        if exchange.received == 0:
            source.current = source.url
            if source.requests == 0 and self._leave_out(source, error):
                return
            if self._exchanges:
                self._ask_for_no_more()
                return
        if self._exchanges:
            # The others go on; their progress is this transfer's.
            self._not_before = time.monotonic() + self._options.retry_pause
            return
        if self._pieces.is_complete:
            return  # what broke, did so after the last byte
        # What is about to be thrown away is no progress.
        kept = self._pieces.count if self._can_continue else 0
        pause = self._retries.pause(error, kept, time.monotonic())
        logger.info("Job %s tries again in %.1f s: %s", self._tracker.job_id, pause, error)
        self._not_before = time.monotonic() + pause

    def _leave_out(self, source: Source, why: object) -> bool:
        """Ask a source no more; False when there is no other one."""
        if not self._sources.has_others(source):
            return False
        if self._sources.drop(source):
            self._watch = StallWatch(time.monotonic())
            self._note(f"a mirror is left out: {why}")
        return True

    def _drop(self, exchange: Exchange) -> None:
        """Take a request out, running or not; what it did not fetch is free again."""
        exchange.source.requests -= 1
        self._exchanges.remove(exchange)
        self._pieces.give_back(exchange.piece)
        self._loop.stop(exchange.handle)
        exchange.close_sockets()

    def _drop_all(self) -> None:
        for exchange in list(self._exchanges):
            self._drop(exchange)

    # ── speed ───────────────────────────────────────────────────────────────────────────────────

    def _wait(self) -> list[tuple[int, int]]:
        """Wait for bytes, or for the time when they may be taken."""
        # A single connection is looked at as soon as its speed says whether others are worth it.
        patience = _LOOK_UP if len(self._exchanges) > 1 else MEASURE
        if self._is_throttled:
            patience = min(patience, self._throttle.pause())
        return self._loop.wait(patience)

    def _keep_to_floor(self, seconds: float) -> None:
        """Give up what gets next to nothing: it would hold the worker's place for as long as it likes.

        A wait counts while a body is on its way; for an answer there are times of their own.
        """
        if self._is_throttled or not any(one.is_accepted for one in self._exchanges):
            return
        moved = self._floor.waited(seconds, self._pieces.count)
        if moved is not None:
            raise TransientError(
                f"The origin sent {moved:,} bytes in {FLOOR_WINDOW:g} seconds; the least is "
                f"{self._options.min_bytes_per_minute:,} (SEEN_MIN_BYTES_PER_MINUTE).",
                code="too_slow",
            )

    @property
    def _is_throttled(self) -> bool:
        return any(one.is_paused or one.has_undecoded for one in self._exchanges)

    def _look_at_speeds(self) -> None:
        """End what stands still, and what is so slow that another connection would be done sooner."""
        now = time.monotonic()
        slow = float(self._options.low_speed_limit)
        for exchange in list(self._exchanges):
            waits = exchange.is_paused or exchange.has_undecoded
            exchange.watch.look(now, exchange.received, slow, waits=waits)
            patience = self._options.low_speed_time
            if exchange.received == 0 and len(self._exchanges) > 1:
                # Not heard of yet, and others are: its piece need not wait as long as a whole file.
                patience = min(patience, self._options.connect_timeout)
            if now - exchange.watch.slow_since >= patience:
                self._drop(exchange)
                self._failed(exchange, _stood_still(slow, patience))
        self._watch.look(now, self._pieces.count, slow, waits=self._is_throttled)
        if now - self._watch.slow_since >= 2 * self._options.low_speed_time:
            # Each answer may be quick, and bring a byte.
            raise _stood_still(slow, 2 * self._options.low_speed_time)
        if self._sharing.has_place(len(self._exchanges)) and not self._is_throttled:
            self._relieve()

    def _relieve(self) -> None:
        """A connection is idle: take the piece of one that crawls."""
        crawler = self._sharing.crawler(self._exchanges)
        if crawler is not None and not self._pieces.has_free():
            logger.info("Job %s gives a slow connection's piece to another", self._tracker.job_id)
            self._drop(crawler)

    # ── the rest ────────────────────────────────────────────────────────────────────────────────

    def _may_go_on(self) -> None:
        self._tracker.stop.raise_if_set()
        self._may_write()

    def _note(self, text: str) -> None:
        """Have something told when libcurl is not at work: it may take its time."""
        self._notes.append(text)

    def _tell_notes(self) -> None:
        while self._notes:
            self._tell(self._notes.pop(0))


def _stood_still(slow: float, seconds: float) -> TransientError:
    return TransientError(
        f"The origin sent less than {slow:g} bytes a second for {seconds:g} seconds.",
        code="timeout",
    )
