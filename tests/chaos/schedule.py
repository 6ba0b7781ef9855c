"""Which fault comes when: a pure function of the seed, so that a failed run can be repeated."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Literal

DatabaseKind = Literal["sqlite", "postgres"]
StoreKind = Literal["redis", "stand-in", "dragonfly"]
"""A Redis or Valkey, the stand-in for Dragonfly, or Dragonfly."""

#: Download workers.
WORKERS = 2
#: Seconds between the beginnings of two faults.
PAUSES = (0.3, 2.5)
#: The life of a lock in the system that is broken (`tests.support.services.system.FAST`). Seconds.
LOCK_TTL = 3.0
#: A store comes back with a snapshot that is this many faults old, at least.
OLD = 3


class Kind(StrEnum):
    """What can happen."""

    WORKER_KILLED = "worker killed"
    WORKER_FROZEN = "worker frozen"
    """For less than its lock lives."""
    WORKER_FROZEN_LONG = "worker frozen for long"
    """For more than that: others have taken its jobs when it goes on."""
    WORKER_DRAINED = "worker drained"
    BEAT_KILLED = "beat killed"
    MAINTENANCE_KILLED = "maintenance worker killed"
    STORE_SAVED = "store saved"
    """Breaks nothing: it is what `STORE_OLD` comes back with."""
    STORE_EMPTIED = "store back empty"
    STORE_OLD = "store back from an old snapshot"
    STORE_HANGS = "store hangs"
    STORE_READ_ONLY = "store read-only"
    """It became a replica (a failover), and blocked commands are unblocked with an error."""
    STORE_CUT_OFF = "store cut off from its primary"
    STORE_FORBIDS = "store forbids"
    """Its user lost most rights."""
    STORE_FULL = "store full"
    STORE_WITHOUT_REPLICAS = "store without replicas"
    STORE_WITHOUT_DISK = "store without disk"
    """Its last snapshot failed, so it takes no writes."""
    STORE_BUSY = "store busy"
    """A script does not end."""
    STORE_LOCKED_OUT = "store with another password"
    STORE_CROWDED = "store with too many clients"
    STORE_LOADING = "store loading"
    STORE_CLUSTER_DOWN = "store of a cluster that is down"
    DATABASE_AWAY = "database away"
    """PostgreSQL stopped, or SQLite locked by another process."""
    DATABASE_CRASHED = "database crashed"
    LINE_CUT = "line to the store cut"
    LINE_SLOW = "line to the store slow"
    LINE_SILENT = "line to the store silent"
    """Nothing passes; in the end everything that was sent does."""
    LINE_HALF_OPEN = "line to the store half open"
    """Every open connection loses its peer; new connections work."""
    ORIGIN_DOWN = "origin down"
    ORIGIN_FLAPS = "origin flapping"
    ORIGIN_503 = "origin answers 503"
    ORIGIN_RESETS = "origin resets"
    DISK_FULL = "disk full"
    DISK_READ_ONLY = "disk read-only"
    CLOCK_STEPPED = "clock stepped"
    WORKER_WITHOUT_DESCRIPTORS = "worker without descriptors"
    """Its limit of open files is as many as it has."""
    LIMIT_SET = "limit of all downloads set"
    """It stays until it is set to something else or removed, or the store loses it."""
    LIMIT_REMOVED = "limit of all downloads removed"
    MESSAGES_FORGED = "messages forged"
    """Another program pushes messages of another kind into every queue."""


@dataclass(frozen=True, slots=True)
class _Way:
    """How one kind of fault is drawn."""

    weight: int
    lasts: tuple[float, float]
    """Seconds, at least and at most."""
    what: str
    """What it takes hold of: two faults of one thing do not overlap."""
    each_worker: bool = False
    amounts: tuple[float, ...] = ()
    """Its further parameter is one of these."""


K = Kind
_WAYS: Mapping[Kind, _Way] = MappingProxyType(
    {
        K.WORKER_KILLED: _Way(14, (0.2, 3.0), "process", each_worker=True),
        K.WORKER_FROZEN: _Way(6, (0.3, 0.7 * LOCK_TTL), "process", each_worker=True),
        K.WORKER_FROZEN_LONG: _Way(
            8, (1.2 * LOCK_TTL, 2.5 * LOCK_TTL), "process", each_worker=True
        ),
        K.WORKER_DRAINED: _Way(8, (0.5, 3.0), "process", each_worker=True),
        K.BEAT_KILLED: _Way(4, (0.2, 3.0), "beat"),
        K.MAINTENANCE_KILLED: _Way(4, (0.2, 3.0), "maintenance"),
        K.STORE_SAVED: _Way(5, (0.0, 0.0), "store"),
        K.STORE_EMPTIED: _Way(5, (0.1, 2.0), "store"),
        K.STORE_OLD: _Way(5, (0.1, 2.0), "store"),
        K.STORE_HANGS: _Way(5, (0.5, 6.0), "store"),
        K.STORE_READ_ONLY: _Way(3, (0.5, 4.0), "store"),
        K.STORE_CUT_OFF: _Way(1, (0.5, 4.0), "store"),
        K.STORE_FORBIDS: _Way(2, (0.5, 4.0), "store"),
        K.STORE_FULL: _Way(2, (0.5, 4.0), "store"),
        K.STORE_WITHOUT_REPLICAS: _Way(1, (0.5, 4.0), "store"),
        K.STORE_WITHOUT_DISK: _Way(2, (0.5, 4.0), "store"),
        K.STORE_BUSY: _Way(2, (0.5, 4.0), "store"),
        K.STORE_LOCKED_OUT: _Way(1, (0.5, 4.0), "store"),
        K.STORE_CROWDED: _Way(1, (0.5, 4.0), "store"),
        K.STORE_LOADING: _Way(2, (0.5, 4.0), "store"),
        K.STORE_CLUSTER_DOWN: _Way(1, (0.5, 4.0), "store"),
        K.DATABASE_AWAY: _Way(6, (0.5, 5.0), "database"),
        K.DATABASE_CRASHED: _Way(3, (0.3, 3.0), "database"),
        K.LINE_CUT: _Way(6, (0.2, 6.0), "line", each_worker=True),
        # Seconds by which every piece is late.
        K.LINE_SLOW: _Way(4, (1.0, 5.0), "line", each_worker=True, amounts=(0.02, 0.1, 0.3)),
        K.LINE_SILENT: _Way(4, (0.5, 6.0), "line", each_worker=True),
        K.LINE_HALF_OPEN: _Way(5, (0.5, 6.0), "line", each_worker=True),
        K.ORIGIN_DOWN: _Way(4, (0.3, 4.0), "origin"),
        # Seconds of each state.
        K.ORIGIN_FLAPS: _Way(3, (1.0, 5.0), "origin", amounts=(0.1, 0.3, 0.8)),
        K.ORIGIN_503: _Way(4, (0.3, 4.0), "origin"),
        # Bytes before the reset.
        K.ORIGIN_RESETS: _Way(5, (0.5, 4.0), "origin", amounts=(1, 50_000, 200_000)),
        K.DISK_FULL: _Way(5, (0.5, 4.0), "disk", each_worker=True),
        K.DISK_READ_ONLY: _Way(5, (0.5, 4.0), "disk", each_worker=True),
        K.WORKER_WITHOUT_DESCRIPTORS: _Way(4, (0.5, 5.0), "process", each_worker=True),
        # Downloads at once; there are two workers of eight.
        K.LIMIT_SET: _Way(10, (0.0, 0.0), "limit", amounts=(1, 2, 3, 5, 10)),
        K.LIMIT_REMOVED: _Way(3, (0.0, 0.0), "limit"),
        K.MESSAGES_FORGED: _Way(4, (0.0, 0.0), "messages"),
        # Seconds by which it is wrong.
        K.CLOCK_STEPPED: _Way(5, (1.0, 6.0), "clock", each_worker=True, amounts=(-3600, 3600)),
    }
)


#: What cannot be brought about on a database or a store.
_IMPOSSIBLE: Mapping[str, frozenset[Kind]] = MappingProxyType(
    {
        "sqlite": frozenset({K.DATABASE_CRASHED}),
        "redis": frozenset({K.STORE_LOADING, K.STORE_CLUSTER_DOWN}),
        "dragonfly": frozenset(
            {
                K.STORE_CUT_OFF,
                K.STORE_WITHOUT_REPLICAS,
                K.STORE_WITHOUT_DISK,
                K.STORE_BUSY,
                K.STORE_LOCKED_OUT,
                K.STORE_CROWDED,
                K.STORE_LOADING,
                K.STORE_CLUSTER_DOWN,
            }
        ),
    }
)


def possible_kinds(database: DatabaseKind, store: StoreKind) -> set[Kind]:
    """Return what can happen to a system with this database and this store."""
    nothing = frozenset[Kind]()
    return set(Kind) - _IMPOSSIBLE.get(database, nothing) - _IMPOSSIBLE.get(store, nothing)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that goes wrong, and ends. Times in seconds from the beginning of the run."""

    number: int
    kind: Kind
    at: float
    lasts: float
    worker: int | None = None
    """Whose process, line, disk or clock it is."""
    amount: float = 0.0
    """What else there is to say; see `_WAYS`. Of an old snapshot, the fault that saved it."""

    @property
    def ends(self) -> float:
        """When it is over."""
        return self.at + self.lasts

    def __str__(self) -> str:
        whose = "" if self.worker is None else f", worker {self.worker}"
        amount = f", {self.amount:+g}" if self.amount else ""
        return f"{self.kind}{whose}{amount}, for {self.lasts:.2f} s"


def draw(seed: int, faults: int, database: DatabaseKind, store: StoreKind = "redis") -> list[Fault]:
    """Return the faults of a run, in order; the same ones for the same arguments."""
    possible = possible_kinds(database, store)
    chance = random.Random(f"faults of {seed}")  # text: alike in every version of Python
    at, drawn = 0.0, []
    busy_until: dict[tuple[str, int | None], float] = {}
    saved: list[int] = []
    for number in range(1, faults + 1):
        at = round(at + chance.uniform(*PAUSES), 3)
        kind, worker = chance.choices(*_choices(at, possible, busy_until, saved, number))[0]
        way = _WAYS[kind]
        amount = chance.choice(way.amounts) if way.amounts else 0.0
        if kind is Kind.STORE_SAVED:
            saved.append(number)
        if kind is Kind.STORE_OLD:
            amount = float(chance.choice(_old(saved, number)))
        lasts = round(chance.uniform(*way.lasts), 3)
        fault = Fault(number=number, kind=kind, at=at, lasts=lasts, worker=worker, amount=amount)
        busy_until[way.what, worker] = fault.ends
        drawn.append(fault)
    return drawn


def _choices(
    at: float,
    possible: set[Kind],
    busy_until: Mapping[tuple[str, int | None], float],
    saved: list[int],
    number: int,
) -> tuple[list[tuple[Kind, int | None]], list[float]]:
    """Return what may happen at `at`, and how likely each of them is."""
    choices: list[tuple[Kind, int | None]] = []
    weights: list[float] = []
    for kind, way in _WAYS.items():
        if kind is Kind.STORE_OLD and not _old(saved, number):
            continue
        if kind not in possible:
            continue
        whose: list[int | None] = list(range(WORKERS)) if way.each_worker else [None]
        for worker in whose:
            if busy_until.get((way.what, worker), 0.0) < at:
                choices.append((kind, worker))
                weights.append(way.weight / len(whose))
    return choices, weights


def _old(saved: list[int], number: int) -> list[int]:
    return [one for one in saved if one <= number - OLD]
