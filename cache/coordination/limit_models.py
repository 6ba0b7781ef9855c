"""What limits of transfers are told in: slots, answers to who wants in, demand for a limited rate."""

from __future__ import annotations

from typing import NamedTuple


class SlotRequest(NamedTuple):
    """So many slots of one resource, of which there are `limit` for everybody."""

    resource: str
    want: int
    limit: int


class Slots(NamedTuple):
    """What came of a request for slots."""

    granted: int
    """Those the member holds now."""
    used: int
    """Those that all members hold, this one's among them."""


class Cooldown(NamedTuple):
    """A host that is to be left alone for a while."""

    seconds: float
    """How long still."""
    reason: str


class SlotDecision(NamedTuple):
    """Whether a member may begin: everything it needs was granted, or nothing."""

    cooldown: Cooldown | None
    """Why not: the host cools down."""
    full: tuple[SlotRequest, int] | None
    """Why not: the first request without room, and how many slots others hold of it."""

    @property
    def granted(self) -> bool:
        """Whether it may begin."""
        return self.cooldown is None and self.full is None


class Demand(NamedTuple):
    """What some transfers want of one limited rate."""

    transfers: int = 0
    constrained: int = 0
    """Those that take all they may, and would take more."""
    unconstrained: int = 0
    """Bytes a second that the others use, held back by something else."""
    used: int = 0
    """Bytes a second that all of them use."""

    def plus(self, other: Demand) -> Demand:
        """Return the demand of both."""
        return Demand(*(one + two for one, two in zip(self, other, strict=True)))
