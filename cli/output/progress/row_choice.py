"""Which rows a display shows, in which order, and which one of them is marked."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from domain.job import RUNNING, JobStatus
from tasks.api.job_view import JobView

#: The order of the states.
_RANKS = {
    **dict.fromkeys(RUNNING, 0),
    JobStatus.WAITING: 1,
    JobStatus.QUEUED: 2,
    JobStatus.PAUSED: 3,
}


class Order(StrEnum):
    """An order of rows; those that are equal in it stay in the order in which the jobs were given."""

    STATE = "state"
    SPEED = "speed"
    TIME_LEFT = "time left"
    SIZE = "size"
    NAME = "name"

    @property
    def following(self) -> Order:
        """The next order; the first one after the last."""
        orders = list(Order)
        return orders[(orders.index(self) + 1) % len(orders)]


def _time_left(view: JobView) -> float:
    left = view.progress.eta_seconds
    return math.inf if left is None else left


_SORT_KEYS: Mapping[Order, Callable[[JobView], Any]] = MappingProxyType(
    {
        Order.STATE: lambda view: _RANKS[view.status],
        Order.SPEED: lambda view: -view.progress.speed,
        Order.TIME_LEFT: _time_left,
        Order.SIZE: lambda view: -(view.progress.bytes_total or 0),
        Order.NAME: lambda view: view.label.casefold(),
    }
)


@dataclass(frozen=True, slots=True)
class RowChoice:
    """What a person has chosen.

    Attributes:
        order: of the rows.
        contains: show only jobs with this text in their name, URL or state; in any case of letters.
        marked: the id of the job whose row is marked; None for none.
    """

    order: Order = Order.STATE
    contains: str = ""
    marked: str | None = None

    def rows(self, views: Sequence[JobView]) -> list[JobView]:
        """Return the unfinished jobs that are shown, in their order."""
        wanted = self.contains.casefold()
        shown = [view for view in views if view.status in _RANKS and _contains(view, wanted)]
        return sorted(shown, key=_SORT_KEYS[self.order])


def _contains(view: JobView, wanted: str) -> bool:
    if not wanted:
        return True
    return any(wanted in text.casefold() for text in (view.label, view.url, view.status.value))


#: All unfinished jobs by their states, none marked.
AS_GIVEN = RowChoice()
