"""When periodic tasks are due, on a clock that nobody sets."""

from __future__ import annotations

from collections.abc import Mapping


class IntervalSchedule:
    """Entries that are due again a fixed time after they last ran; one that never ran is due at once.

    What was missed is not made up for: after a long sleep each entry is due once.

    Args:
        intervals: seconds between two runs, by entry.

    Moments are seconds of the caller's clock, which must not be stepped (`cache.clock.lease_clock`).
    """

    def __init__(self, intervals: Mapping[str, float]) -> None:
        self._intervals = dict(intervals)
        self._last: dict[str, float] = {}

    def learn(self, ages: Mapping[str, float], now: float) -> None:
        """Take over how many seconds ago entries ran elsewhere; what is known to be later stays.

        An age below 0 (the clock it was told by has gone back) counts as 0: it delays an entry by one
        interval at most.
        """
        for name in self._intervals.keys() & ages.keys():
            self._last[name] = max(self._last.get(name, -float("inf")), now - max(0.0, ages[name]))

    def ran(self, name: str, now: float) -> None:
        """Note that an entry ran."""
        self._last[name] = now

    def due(self, now: float) -> list[str]:
        """Return the entries that are due, the longest overdue first."""
        waits = {name: self._wait(name, now) for name in self._intervals}
        return sorted((name for name, wait in waits.items() if wait <= 0), key=waits.__getitem__)

    def wait(self, now: float) -> float:
        """Return the seconds until something is due: 0 when it is, infinite without entries."""
        return max(0.0, min((self._wait(name, now) for name in self._intervals), default=_NEVER))

    def ages(self, now: float) -> dict[str, float]:
        """Return how many seconds ago each entry ran, as far as it is known."""
        return {name: now - last for name, last in self._last.items()}

    def _wait(self, name: str, now: float) -> float:
        last = self._last.get(name)
        return -_NEVER if last is None else last + self._intervals[name] - now


_NEVER = float("inf")
