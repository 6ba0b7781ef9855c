"""One run: start, submit and break, heal, let everything end, check."""

from __future__ import annotations

import heapq
import itertools
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from domain.errors import DatabaseUnavailableError
from domain.files import WORKING_PREFIX
from domain.job import Job, JobStatus
from tests.chaos import schedule
from tests.chaos.checks import Violation, violations
from tests.chaos.client import Client
from tests.chaos.cluster import Cluster, cluster
from tests.chaos.evidence import Evidence, all_jobs, digests, leftovers
from tests.chaos.faults import inject
from tests.chaos.schedule import DatabaseKind, Fault, Kind
from tests.chaos.watcher import Watcher

Say = Callable[[str], None]

#: After these the store may know less than before: a real replica takes its primary's data.
LOSES_DATA = {Kind.STORE_EMPTIED, Kind.STORE_OLD, Kind.STORE_READ_ONLY, Kind.STORE_CUT_OFF}
#: Small files for each fault; all of them are submitted in groups.
SMALL_FILES = 20
#: Seconds between two looks at programs and schedule.
TICK = 0.05
#: Seconds between two words on how it goes.
WORD = 5.0
#: What every job has for its end after the last fault: one whose message the store lost is published
#: again after half a minute. Seconds.
PATIENCE = 180.0
#: What the store and the disk have for getting tidy after that. Seconds.
TIDYING = 30.0
#: For so long workers may take to serve again once everything is well. A broken line to the broker is
#: noticed by its health check, every 25 s. Seconds.
RECOVERY = 90.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a run came to. Bytes, seconds."""

    seed: int
    database: DatabaseKind
    faults: int
    faults_by_kind: dict[str, int]
    jobs: int
    jobs_by_status: dict[str, int]
    groups: int
    """How many groups of small files were submitted."""
    claims: int
    requests: int
    bytes_of_files: int
    """The size of everything that was completed."""
    bytes_sent: int
    """What the origin sent, for whatever became of it."""
    looks: int
    """At live progress."""
    wall_seconds: float
    violations: tuple[Violation, ...]


def run(folder: Path, *, seed: int, faults: int, database: DatabaseKind, say: Say) -> Outcome:
    """Break a system of its own `faults` times, and return what came of it.

    Args:
        folder: an empty one, for its database, downloads and logs.
        seed: what is broken when follows from it.
        faults: how many.
        database: which one it runs on.
        say: gets a line about each step.
    """
    began = time.monotonic()
    with cluster(folder, database) as broken:
        planned = schedule.draw(seed, faults, database, broken.store_kind)
        say(f"seed {seed}, {faults} faults, {database}, {broken.store_kind}")
        one = _Run(broken, seed, faults, say)
        one.watcher.start()
        one.client.start()
        one.break_things(planned)
        one.settle()
        evidence = one.evidence()
    found = violations(evidence)
    for violation in found:
        say(f"VIOLATION {violation}")
    completed = [job for job in evidence.jobs.values() if job.status is JobStatus.COMPLETED]
    return Outcome(
        seed=seed,
        database=database,
        faults=faults,
        faults_by_kind=dict(Counter(str(fault.kind) for fault in planned)),
        jobs=len(evidence.jobs),
        jobs_by_status=dict(Counter(str(job.status) for job in evidence.jobs.values())),
        groups=len(one.client.groups),
        claims=sum(job.fence for job in evidence.jobs.values()),
        requests=len(evidence.requests),
        bytes_of_files=sum(job.bytes_downloaded for job in completed),
        bytes_sent=sum(entry.bytes_sent for entry in evidence.requests),
        looks=one.watcher.looks,
        wall_seconds=round(time.monotonic() - began, 1),
        violations=tuple(found),
    )


class _Run:
    """The parts of one run, and their submission."""

    def __init__(self, broken: Cluster, seed: int, faults: int, say: Say) -> None:
        self._cluster, self._say_plainly = broken, say
        self._began = time.monotonic()
        self._next_word = 0.0
        self._undo: dict[int, Callable[[], None]] = {}
        self._served: set[str] = set()
        self.client = Client(
            broken.system.runtime, broken.origin, seed, small_files=SMALL_FILES * faults
        )
        runtime = broken.system.runtime
        self.watcher = Watcher(
            runtime, self._under_way, broken.origin.furthest, runtime.settings.progress_ttl
        )

    def _under_way(self) -> list[str]:
        return [submission.job_id for submission in self.client.unfinished()]

    def _say(self, text: str) -> None:
        self._say_plainly(f"{time.monotonic() - self._began:7.1f} s  {text}")

    # ── breaking ────────────────────────────────────────────────────────────────────────────────

    def break_things(self, planned: list[Fault]) -> None:
        """Do every fault at its time and undo it at its end; late rather than in another order."""
        order = itertools.count()
        actions = [(fault.at, next(order), self._begin, fault) for fault in planned]
        actions += [(fault.ends, next(order), self._end, fault) for fault in planned]
        heapq.heapify(actions)
        while actions:
            at, _, act, fault = heapq.heappop(actions)
            while time.monotonic() - self._began < at:
                self._tick()
            act(fault)
        if not self._wait(self._limit_is_removed, RECOVERY):
            self._cluster.incidents.append(f"the store took no limit within {RECOVERY:g} s")
        self._say("everything is healed")

    def _limit_is_removed(self) -> bool:
        return self._cluster.limit.set(self._cluster.system.runtime.cache.limits, None)

    def _begin(self, fault: Fault) -> None:
        if fault.kind in LOSES_DATA:
            self._cluster.limit.may_be_lost()
        self._say(f"#{fault.number} {fault}")
        self._undo[fault.number] = inject(self._cluster, fault)

    def _end(self, fault: Fault) -> None:
        if fault.kind in LOSES_DATA:
            self.watcher.store_went_back()
            self._cluster.limit.may_be_lost()
        self._undo.pop(fault.number)()

    def _tick(self) -> None:
        self._cluster.supervise()
        now = time.monotonic()
        if now >= self._next_word:
            self._next_word = now + WORD
            submissions = self.client.submissions
            unfinished = len(self.client.unfinished())
            self._say(
                f"… {len(submissions) - unfinished} jobs have ended, {unfinished} are under way"
            )
        time.sleep(TICK)

    # ── the end ─────────────────────────────────────────────────────────────────────────────────

    def settle(self) -> None:
        """Let everything end: the jobs, what others have to tidy up, and the threads of the run."""
        self.client.close()
        # The checks report what is late; waiting longer would not help.
        if self._wait(self._all_have_ended, PATIENCE):
            self._have_all_serve()
            self._wait(self._all_is_tidy, TIDYING)
        self.watcher.close()

    def _all_is_tidy(self) -> bool:
        """Look whether the store is, and the disk: what lost its message is left to the sweep."""
        system = self._cluster.system
        working = system.downloads.rglob(f"{WORKING_PREFIX}*")
        return not leftovers(system.runtime) and not any(working)

    def _have_all_serve(self) -> None:
        """Give workers work until each has had some, and let that end."""
        if not self._wait(self._all_serve, RECOVERY):
            idle = ", ".join(sorted(self._idle_workers()))
            self._cluster.incidents.append(f"within {RECOVERY:g} s no job was taken by {idle}")
        self._wait(self._all_have_ended, PATIENCE)

    def _wait(self, condition: Callable[[], bool], patience: float) -> bool:
        end = time.monotonic() + patience
        while not condition():
            if time.monotonic() > end:
                return False
            self._tick()
        return True

    def _all_have_ended(self) -> bool:
        return self._look() is not None and not self.client.unfinished()

    def _all_serve(self) -> bool:
        if self._look() is None:
            return False
        if not self._idle_workers():
            return True
        self.client.fill_up()
        return False

    def _look(self) -> dict[str, Job] | None:
        """Look at the jobs under way, and at who has them; None without database."""
        try:
            jobs = self.client.look()
        except DatabaseUnavailableError:
            return None
        self._served |= {(job.worker or "").rpartition(":")[2] for job in jobs.values()}
        return jobs

    def _idle_workers(self) -> set[str]:
        """Return the download workers whose process has had no job since everything is well."""
        return {
            name
            for name, program in self._cluster.programs.items()
            if name.startswith("worker ") and str(program.process.pid) not in self._served
        }

    def evidence(self) -> Evidence:
        """Gather everything the checks look at."""
        system = self._cluster.system
        jobs = all_jobs(system.runtime)
        return Evidence(
            submissions={submission.job_id: submission for submission in self.client.submissions},
            specs=self.client.specs,
            jobs=jobs,
            events={job_id: system.runtime.jobs.events(job_id) for job_id in jobs},
            requests=self._cluster.origin.requests,
            folder=system.downloads,
            files=digests(system.downloads),
            leftovers=leftovers(system.runtime),
            frozen=tuple(self._cluster.frozen),
            checkpoint_interval=system.runtime.settings.checkpoint_interval,
            seen=(*self.watcher.findings, *self.client.complaints),
            limits=tuple(self._cluster.limit.changes),
            incidents=tuple(self._cluster.incidents),
        )
