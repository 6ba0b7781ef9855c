"""One program of a comparison, and the figures of its runs."""

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
class Contender:
    """One program, or one way to run it.

    Attributes:
        name: shown in the table.
        group: the table shows the best contender of each group.
        download: does it once, checks the file and removes it.
        size: of the file in bytes.
        remark: distinguishes it from a contender of that name in another table.
    """

    name: str
    group: str
    download: Callable[[], Run]
    size: int
    remark: str = ""
    runs: list[Run] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """The median of the rounds."""
        return median(run.seconds for run in self.runs)

    @property
    def megabytes_per_second(self) -> float:
        """By the median; a megabyte is 10⁶ bytes."""
        return self.size / self.seconds / 1e6

    @property
    def cpu_per_gib(self) -> float:
        """The client's processor seconds for 2³⁰ bytes."""
        return median(run.cpu for run in self.runs) * GIB / self.size

    @property
    def peak(self) -> int:
        """The most memory in bytes that any of the runs took."""
        return max(run.peak for run in self.runs)

    def ratio(self, other: Contender) -> float:
        """Return how many times as long as `other` it took, by the median of the rounds."""
        pairs = zip(self.runs, other.runs, strict=True)
        return median(mine.seconds / its.seconds for mine, its in pairs)

    def figures(self) -> dict[str, Any]:
        """Return the figures for JSON output."""
        return {
            "name": self.name,
            "seconds": self.seconds,
            "fastest": min(run.seconds for run in self.runs),
            "slowest": max(run.seconds for run in self.runs),
            "megabytes_per_second": self.megabytes_per_second,
            "cpu_seconds_per_gib": self.cpu_per_gib,
            "peak_memory": self.peak,
            "runs": len(self.runs),
        }


def best(contenders: list[Contender]) -> list[Contender]:
    """Return the fastest of each group, in the order of the groups."""
    groups: dict[str, list[Contender]] = {}
    for contender in contenders:
        groups.setdefault(contender.group, []).append(contender)
    return [min(group, key=lambda contender: contender.seconds) for group in groups.values()]
