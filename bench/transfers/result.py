"""What one run of anybody gave, and what several of them say together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from typing import Any

GIB = 2**30


@dataclass(frozen=True, slots=True)
class Run:
    """One download. Seconds by the clock and of the client's processor; peak memory in bytes."""

    seconds: float
    cpu: float
    peak: int


@dataclass(slots=True)
class Lane:
    """One contestant of a table.

    Attributes:
        who: shown in the table.
        group: of several lanes with the same, the table shows the best.
        download: does it once, checks the file and removes it.
        size: of the file in bytes.
        remark: what sets it apart from a lane of that name in another table.
    """

    who: str
    group: str
    download: Callable[[], Run]
    size: int
    remark: str = ""
    runs: list[Run] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Half of the rounds took less."""
        return median(run.seconds for run in self.runs)

    @property
    def megabytes_a_second(self) -> float:
        """By the median; a megabyte is 10⁶ bytes."""
        return self.size / self.seconds / 1e6

    @property
    def cpu_a_gib(self) -> float:
        """The client's processor seconds for 2³⁰ bytes."""
        return median(run.cpu for run in self.runs) * GIB / self.size

    @property
    def peak(self) -> int:
        """The most memory in bytes that any of the runs took."""
        return max(run.peak for run in self.runs)

    def times(self, other: Lane) -> float:
        """How many times as long as another it took, round by round."""
        pairs = zip(self.runs, other.runs, strict=True)
        return median(mine.seconds / its.seconds for mine, its in pairs)

    def figures(self) -> dict[str, Any]:
        """Return what a program wants to know."""
        return {
            "who": self.who,
            "seconds": self.seconds,
            "fastest": min(run.seconds for run in self.runs),
            "slowest": max(run.seconds for run in self.runs),
            "megabytes_a_second": self.megabytes_a_second,
            "cpu_seconds_a_gib": self.cpu_a_gib,
            "peak_memory": self.peak,
            "runs": len(self.runs),
        }


def best(lanes: list[Lane]) -> list[Lane]:
    """Return the fastest of each group, in the order of the groups."""
    groups: dict[str, list[Lane]] = {}
    for lane in lanes:
        groups.setdefault(lane.group, []).append(lane)
    return [min(group, key=lambda lane: lane.seconds) for group in groups.values()]
