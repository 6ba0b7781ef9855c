"""The types of `TransferLimits`: slots, cooldowns, and demand for a limited rate."""

from __future__ import annotations

from typing import NamedTuple


class SlotRequest(NamedTuple):
    """A request for `want` slots of a resource that has `limit` slots for all members."""

    resource: str
    want: int
    limit: int


class Slots(NamedTuple):
    """The result of a request for slots."""

    granted: int
    """Slots that the member holds now."""
    used: int
    """Slots that all members hold, including this one."""


class Cooldown(NamedTuple):
    """The time for which all workers leave a host alone."""

    seconds: float
    """The rest of it."""
    reason: str


class SlotDecision(NamedTuple):
    """Whether a member got all slots that it requested, or none."""

    cooldown: Cooldown | None
    """Set if the host has a cooldown."""
    full: tuple[SlotRequest, int] | None
    """The first request that could not be granted, and how many slots others hold."""
    has_place: bool = False
    """Whether it has a place in the line for that request."""
    called: int = 0
    """For how many members that wait elsewhere a slot was found free: they have to be called."""
    unchanged: float = 0.0
    """Seconds since another member took or renewed slots of that request's resource."""

    @property
    def granted(self) -> bool:
        """Whether all slots were granted."""
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
