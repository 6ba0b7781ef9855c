"""Makes due deliveries: claims them in SQL, makes many at once, and records each result.

Any number of dispatchers may run. A delivery is made at least once: one that dies after a request and
before its record leaves a claim, after whose end the delivery is made again.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from database import JobRepository
from database.webhooks import Attempt, Delivery, DeliveryState, Outbox, Receivers, Target
from tasks.webhooks.content import body_of, variables_of
from tasks.webhooks.schedule import Verdict, failed, verdict_of_reply
from worker import tracing
from worker.metrics.catalog import WEBHOOK_ATTEMPTS, WEBHOOK_DURATION
from worker.metrics.instruments import Instruments
from worker.runtime import Runtime
from worker.transfer.http.address_guard import AddressGuard
from worker.webhooks.end_program import EndProgram, ProgramResult
from worker.webhooks.http_sender import HttpSender, Reply, SenderOptions
from worker.webhooks.secrets import UnreadableSecretError, WebhookSecrets
from worker.webhooks.signatures import signed_headers

logger = logging.getLogger(__name__)

#: Deliveries to one host, or runs of the program, that a dispatcher makes at once.
PER_HOST = 8
#: Deliveries of a dispatcher at once: those to slow hosts leave room for others.
TOTAL = 256
#: Longer than any attempt takes: a claim that is not recorded by then is over.
LEASE = timedelta(minutes=2)
#: Time between two looks for due deliveries, and between two looks at running programs. Seconds.
_CLAIM_INTERVAL, _POLL_INTERVAL = 0.5, 0.1

#: What metrics call the state after an attempt.
_RESULTS = {
    DeliveryState.DELIVERED: "delivered",
    DeliveryState.PENDING: "failed",
    DeliveryState.GIVEN_UP: "given_up",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DispatcherParts:
    """What a dispatcher needs of its process.

    Attributes:
        program: of SEEN_ON_END; without one, ends are left for a process that has one.
        is_stopping: whether the process is about to exit.
        now: the wall clock, aware UTC.
    """

    outbox: Outbox
    receivers: Receivers
    secrets: WebhookSecrets
    jobs: JobRepository
    options: SenderOptions
    program: Path | None
    is_stopping: Callable[[], bool]
    now: Callable[[], datetime]
    instruments: Instruments

    @classmethod
    def of(cls, runtime: Runtime) -> DispatcherParts:
        """Return those of a runtime."""
        transfer, receivers = runtime.engine.options, Receivers(runtime.database)
        return cls(
            outbox=Outbox(runtime.database),
            receivers=receivers,
            secrets=WebhookSecrets(receivers, runtime.credential_cipher),
            jobs=runtime.jobs,
            options=SenderOptions(
                guard=AddressGuard(runtime.settings.allowed_networks),
                proxy=transfer.proxy,
                ca_file=str(transfer.ca_file) if transfer.ca_file else None,
                user_agent=transfer.user_agent,
            ),
            program=runtime.settings.on_end,
            is_stopping=lambda: runtime.drain.has_started,
            now=runtime.now,
            instruments=runtime.instruments,
        )


class _NoReceiver(Exception):  # noqa: N818 - a reason, recorded with the delivery
    """Why a delivery is made no more."""


class Dispatcher:
    """Makes deliveries on the thread that calls `run`."""

    def __init__(self, parts: DispatcherParts) -> None:
        self._parts = parts
        self._requests: HttpSender[int] = HttpSender(parts.options)
        self._programs: dict[int, EndProgram] = {}
        self._claimed: dict[int, Delivery] = {}
        self._claim_at = 0.0
        self._made = 0

    def run(self) -> int:
        """Make deliveries until none is due, or the process stops; return how many attempts were made.

        Raises:
            DatabaseUnavailableError: those under way are made again after the end of their claims.
        """
        try:
            while not self._parts.is_stopping():
                self._claim_due()
                if not self._claimed:
                    break
                self._make_some()
            self._release_all()
        finally:
            self._requests.close()
            for program in self._programs.values():
                program.close()
        return self._made

    # ── claiming ────────────────────────────────────────────────────────────────────────────────

    def _claim_due(self) -> None:
        if self._claimed and time.monotonic() < self._claim_at:
            return
        self._claim_at = time.monotonic() + _CLAIM_INTERVAL
        under_way = Counter(one.host for one in self._claimed.values())
        for host in self._parts.outbox.hosts_due(self._parts.now()):
            room = min(PER_HOST - under_way[host], TOTAL - len(self._claimed))
            if room > 0 and (host or self._parts.program):
                for delivery in self._parts.outbox.claim(
                    host, now=self._parts.now(), lease=LEASE, limit=room
                ):
                    self._claimed[delivery.id] = delivery
                    self._start(delivery)

    def _release_all(self) -> None:
        for delivery in self._claimed.values():
            self._parts.outbox.release(delivery, self._parts.now())

    # ── making ──────────────────────────────────────────────────────────────────────────────────

    def _start(self, delivery: Delivery) -> None:
        if delivery.target is Target.PROGRAM:
            if self._parts.program is not None:
                variables = variables_of(delivery)
                self._programs[delivery.id] = EndProgram(self._parts.program, variables)
            return
        try:
            url = self._url_of(delivery)
        except _NoReceiver as reason:
            self._record(delivery, Verdict(DeliveryState.GIVEN_UP, str(reason)))
            return
        body, now = body_of(delivery), self._parts.now()
        try:
            secrets = self._parts.secrets.current(delivery.user_id or "", now)
        except UnreadableSecretError as error:
            self._record(delivery, failed(str(error), delivery.attempts))
            return
        signed = signed_headers(secrets, delivery.message_id, int(now.timestamp()), body)
        headers = {"content-type": "application/json", **tracing.headers(delivery.job_id), **signed}
        self._requests.start(delivery.id, url, headers, body)

    def _url_of(self, delivery: Delivery) -> str:
        """Return where a delivery goes.

        Raises:
            _NoReceiver: to none any more.
        """
        receivers, user_id = self._parts.receivers, delivery.user_id or ""
        if receivers.is_disabled(user_id):
            raise _NoReceiver(f"User {user_id} is disabled: nothing is delivered to its webhooks.")
        is_own = delivery.target is Target.JOB
        url = delivery.url if is_own else receivers.get(user_id).url
        if url is None:
            raise _NoReceiver("The owner of the job has no webhook any more.")
        return url

    def _make_some(self) -> None:
        """Let requests and programs go on, and record those that have ended."""
        seconds = _POLL_INTERVAL if self._programs else _CLAIM_INTERVAL
        if len(self._requests):
            ended = self._requests.wait(seconds)
        else:
            ended = []
            time.sleep(_POLL_INTERVAL if self._programs else 0)
        for delivery_id, reply in ended:
            self._record_reply(self._claimed[delivery_id], reply)
        for delivery_id, program in list(self._programs.items()):
            result = program.poll()
            if result is not None:
                del self._programs[delivery_id]
                self._record_run(self._claimed[delivery_id], result)
        if not self._claimed:
            self._claim_at = 0.0

    # ── recording ───────────────────────────────────────────────────────────────────────────────

    def _record_reply(self, delivery: Delivery, reply: Reply) -> None:
        verdict = verdict_of_reply(reply, delivery.attempts)
        self._record(delivery, verdict, reply.status or None, reply.seconds)

    def _record_run(self, delivery: Delivery, result: ProgramResult) -> None:
        log = logger.info if result.error is None else logger.warning
        end = result.error or "It ended with exit status 0."
        log("%s for job %s: %s %s", self._parts.program, delivery.job_id, end, result.output)
        if result.error is None:
            verdict = Verdict(DeliveryState.DELIVERED)
        elif result.status is None:
            verdict = failed(result.error, delivery.attempts)  # not started: it may be later
        else:
            verdict = Verdict(DeliveryState.GIVEN_UP, result.error)
        self._record(delivery, verdict, result.status, result.seconds)

    def _record(
        self,
        delivery: Delivery,
        verdict: Verdict,
        status: int | None = None,
        seconds: float = 0.0,
    ) -> None:
        del self._claimed[delivery.id]
        self._made += 1
        self._count(verdict, seconds)
        if tracing.active is not None:
            of_delivery = {"seen.delivery": delivery.message_id, "seen.status": status}
            tracing.active.delivered(delivery.job_id, seconds, verdict.error, of_delivery)
        now = self._parts.now()
        attempt = Attempt(at=now, status=status, error=verdict.error, seconds=round(seconds, 3))
        is_recorded = self._parts.outbox.record(
            delivery,
            attempt,
            verdict.state,
            next_attempt_at=None if verdict.pause is None else now + verdict.pause,
        )
        if is_recorded and verdict.state is DeliveryState.GIVEN_UP:
            self._note_failure(delivery, verdict)

    def _count(self, verdict: Verdict, seconds: float) -> None:
        instruments = self._parts.instruments
        instruments.count(WEBHOOK_ATTEMPTS, _RESULTS[verdict.state])
        if seconds:
            instruments.observe(WEBHOOK_DURATION, seconds)

    def _note_failure(self, delivery: Delivery, verdict: Verdict) -> None:
        """Log that a delivery is given up, and say so in the history of its job."""
        what = "The program of SEEN_ON_END" if delivery.target is Target.PROGRAM else "The webhook"
        host = f" at {delivery.host}" if delivery.host else ""
        text = (
            f"{what}{host} did not get delivery {delivery.id} ({delivery.event}) in "
            f"{delivery.attempts + 1} attempts: {verdict.error}"
        )
        given_up = {"event": "webhook.given_up", "job_id": delivery.job_id}
        logger.warning("Job %s: %s", delivery.job_id, text, extra=given_up)
        self._parts.jobs.note_many([delivery.job_id], text, now=self._parts.now())
