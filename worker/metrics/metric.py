"""What one metric is: its name, kind, labels and buckets."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum


class Kind(Enum):
    """How the values of several processes become one."""

    COUNTER = "counter"
    """Each process adds; it never decreases."""
    HISTOGRAM = "histogram"
    """The same for each bucket, and for the sum of the values."""
    LATEST = "latest"
    """The latest time that any process has seen something."""
    SUM = "sum"
    """The sum of what the processes that run have now."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric that processes count.

    Attributes:
        name: with its unit; of a counter without `_total`.
        kind: how values are combined.
        text: what it says.
        labels: each with its values; None if they are known only when they occur. Those are from sets
            of the code, never from a request or an origin.
        buckets: upper bounds of a histogram, in the unit of the name.
    """

    name: str
    kind: Kind
    text: str
    labels: Mapping[str, Sequence[str] | None] = field(default_factory=dict)
    buckets: tuple[float, ...] = ()

    @property
    def bounds(self) -> list[str]:
        """The upper bounds of all buckets as Prometheus writes them."""
        return [*(f"{one:g}" if one < 1e6 else f"{one:.0f}" for one in self.buckets), "+Inf"]

    def known_series(self) -> Iterator[tuple[str, ...]]:
        """Yield the labels of series that are there from the start, with the value 0."""
        values = [one for one in self.labels.values() if one is not None]
        if len(values) == len(self.labels):
            yield from itertools.product(*values)

    def allows(self, labels: Sequence[str]) -> bool:
        """Return whether a series may have these values of labels."""
        return len(labels) == len(self.labels) and all(
            len(value) <= _LONGEST and value.isprintable() and (known is None or value in known)
            for value, known in zip(labels, self.labels.values(), strict=True)
        )


#: Characters of a label's value.
_LONGEST = 200
