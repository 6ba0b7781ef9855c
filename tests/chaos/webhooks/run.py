"""One run: jobs by the HTTP API, faults of receiver and processes, recovery, checks."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import update

from database.models import PENDING, webhook_deliveries
from database.webhooks import Outbox, Receivers
from domain.access import Principal
from tasks.api import accounts, webhooks
from tests.chaos.webhooks.checks import Evidence, violations
from tests.chaos.webhooks.faulty_receiver import FAULTS, FaultyReceiver
from tests.support.origins.origin import Origin
from tests.support.servers.process import Process, free_port, spawn
from tests.support.services.system import ROOT, System
from tests.support.stores.server import StoreServer

#: What can happen; a run draws all before it repeats one.
KINDS = (
    *(f"receiver {fault}" for fault in FAULTS),
    *("API killed", "download worker killed", "maintenance worker killed", "clock moved"),
)
#: Seconds that a fault lasts.
LASTS = (0.3, 1.5)
#: Jobs that are submitted at each fault, some of them together.
JOBS = 4
#: After so many faults everything has to recover: a delivery has ten attempts.
ROUND = len(KINDS)
#: Seconds for that, and between two looks.
PATIENCE, LOOK = 180.0, 0.2
#: Seconds in which the API answers, over all its restarts.
ANSWER = 120.0
SETTINGS = {"SEEN_SECRET_KEY": "0123456789abcdef" * 2, "SEEN_MAX_ATTEMPTS": "1000"}
USER = "ada"


@dataclass(frozen=True, slots=True)
class WebhooksOutcome:
    """What a run came to."""

    seed: int
    faults: int
    jobs: int
    ends: int
    deliveries: int
    arrivals: int
    wall_seconds: float
    violations: tuple[str, ...]


def run_webhooks(
    folder: Path, *, faults: int, seed: int, say: Callable[[str], None]
) -> WebhooksOutcome:
    """Submit jobs while `faults` things break one after the other, let all recover, and check."""
    began = time.monotonic()
    settings = {**SETTINGS, "SEEN_API_PORT": str(free_port())}
    with (
        StoreServer() as store,
        Origin() as origin,
        FaultyReceiver() as receiver,
        System(folder, store, settings=settings) as system,
    ):
        one = _Run(system, origin, receiver, random.Random(f"webhooks of {seed}"), say)
        try:
            one.go(faults)
            evidence = one.evidence()
        finally:
            one.close()
    found = violations(evidence)
    for text in found[:20]:
        say(f"VIOLATION {text}")
    return WebhooksOutcome(
        seed=seed,
        faults=faults,
        jobs=len(evidence.receivers),
        ends=sum(len(evidence.ends(job_id)) for job_id in evidence.receivers),
        deliveries=len(evidence.deliveries),
        arrivals=len(evidence.arrivals),
        wall_seconds=round(time.monotonic() - began, 1),
        violations=tuple(found),
    )


def draw(faults: int, chance: random.Random) -> list[str]:
    """Return what happens, in order; each kind as often as the others."""
    drawn: list[str] = []
    while len(drawn) < faults:
        drawn += chance.sample(KINDS, len(KINDS))
    return drawn[:faults]


class _Run:
    """The processes of one run, and its jobs."""

    def __init__(
        self,
        system: System,
        origin: Origin,
        receiver: FaultyReceiver,
        chance: random.Random,
        say: Callable[[str], None],
    ) -> None:
        self._system, self._origin, self._receiver = system, origin, receiver
        self._chance, self._say = chance, say
        self._paths: dict[str, list[str]] = {}
        self._number = 0
        local, runtime = Principal.local(), system.runtime
        accounts.add_user(local, USER, "admin", runtime=runtime)
        key = accounts.create_key(local, USER, runtime=runtime).secret
        Receivers(runtime.database).set_url(USER, receiver.url("/user"), now=runtime.now())
        self._client = httpx.Client(
            base_url=f"http://127.0.0.1:{system.variables['SEEN_API_PORT']}",
            headers={"Authorization": f"Bearer {key}"},
            timeout=30,
        )
        system.start_beat()
        self._programs: dict[str, Process] = {}
        for name in ("API", "download worker", "maintenance worker"):
            self._start(name)

    def go(self, faults: int) -> None:
        """Break things one after the other; recover after each round."""
        for number, kind in enumerate(draw(faults, self._chance)):
            self._say(f"#{number} {kind}")
            undo = self._break(kind)
            time.sleep(self._chance.uniform(*LASTS))
            if kind == "API killed":
                undo()  # before that, nothing can be submitted
            self._submit_some()
            self._change_mind()
            undo()
            if number % ROUND == ROUND - 1:
                self._recover()
        self._recover()

    # ── faults ──────────────────────────────────────────────────────────────────────────────────

    def _break(self, kind: str) -> Callable[[], None]:
        """Begin a fault; what is returned ends it."""
        if kind.startswith("receiver "):
            self._receiver.break_by(kind.removeprefix("receiver "))
            return self._receiver.heal
        if kind == "clock moved":
            self._move_clock()
            return lambda: None
        name = kind.removesuffix(" killed")
        process = self._programs[name]
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return lambda: self._start(name)

    def _start(self, name: str) -> None:
        """Start a program, unless it runs."""
        former = self._programs.get(name)
        if former is not None and former.poll() is None:
            return
        system = self._system
        if name == "API":
            log = system.folder / f"api{self._number}.log"
            command = [sys.executable, "-m", "api.server"]
            self._programs[name] = spawn(command, log=log, env=system.environment, cwd=ROOT)
        else:
            queue = "downloads" if name == "download worker" else "maintenance"
            self._programs[name] = system.start_worker(queue, wait=False)

    def _move_clock(self) -> None:
        """Make all pending deliveries due, as if the pauses and the claims of the dead were over."""
        with self._system.runtime.database.write() as connection:
            due = update(webhook_deliveries).where(PENDING)
            connection.execute(due.values(next_attempt_at=datetime.now(UTC)))

    def _recover(self) -> None:
        """Wait until all jobs have ended and all deliveries are made; the checks report what is late."""
        end, outbox = time.monotonic() + PATIENCE, Outbox(self._system.runtime.database)
        looks = 0
        while time.monotonic() < end:
            jobs = self._system.runtime.jobs.get_many(list(self._paths))
            if all(job.is_finished for job in jobs.values()) and not outbox.backlog():
                return
            if looks % 10 == 0:
                self._move_clock()
            looks += 1
            time.sleep(LOOK)

    # ── jobs ────────────────────────────────────────────────────────────────────────────────────

    def _submit_some(self) -> None:
        """Submit files that are there, that are not, and that come slowly; half with a webhook."""
        for _ in range(JOBS):
            self._number += 1
            path = f"/{self._number}"
            served = self._chance.choice(["there", "there", "missing", "slow"])
            if served == "missing":
                url = self._origin.url(path)
            else:
                rate = 1_000 if served == "slow" else None
                url = self._origin.serve(path, size=3_000, bytes_per_second=rate).url
            body: dict[str, Any] = {"url": url}
            paths = ["/user"]
            if self._chance.random() < 0.5:
                body["webhook"] = self._receiver.url("/job")
                paths.append("/job")
            answer = self._ask("/v1/downloads", body, {"Idempotency-Key": path})
            self._paths[answer["id"]] = paths

    def _change_mind(self) -> None:
        """Cancel a job, and retry another one; either may have moved on since."""
        for action in ("cancel", "retry"):
            job_id = self._chance.choice(list(self._paths))
            self._ask(f"/v1/downloads/{job_id}/{action}")

    def _ask(
        self, path: str, body: dict[str, Any] | None = None, headers: dict[str, str] | None = None
    ) -> Any:
        """Make a request until it is answered; the API may be killed meanwhile."""
        end = time.monotonic() + ANSWER
        while True:
            try:
                answer = self._client.post(path, json=body, headers=headers)
            except httpx.TransportError:
                assert time.monotonic() < end, "the API does not answer"
                time.sleep(LOOK)
                continue
            if answer.status_code != 503:
                assert answer.status_code in {200, 201, 409}, answer.text
                return answer.json()

    # ── the end ─────────────────────────────────────────────────────────────────────────────────

    def evidence(self) -> Evidence:
        """Gather what the checks look at."""
        runtime = self._system.runtime
        return Evidence(
            receivers=self._paths,
            events={job_id: runtime.jobs.events(job_id) for job_id in self._paths},
            arrivals=list(self._receiver.arrivals),
            deliveries=_all_deliveries(Outbox(runtime.database)),
            secret=webhooks.secret_of(Principal.local(), USER, runtime=runtime),
        )

    def close(self) -> None:
        """End what the system does not end itself."""
        self._client.close()
        api = self._programs["API"]
        if api.poll() is None:
            os.killpg(api.pid, signal.SIGKILL)
            api.wait()


def _all_deliveries(outbox: Outbox) -> Sequence[Any]:
    found = outbox.find(limit=500)
    while page := outbox.find(limit=500, before=found[-1].id if found else 1):
        found += page
    return found
