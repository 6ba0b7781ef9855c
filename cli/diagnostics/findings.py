"""What `seen doctor` finds: one thing looked at, how bad it is, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    """It works, and it may not under load or tomorrow."""
    PROBLEM = "problem"
    """It does not work."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    what: str
    level: Level
    message: str
    remedy: str = ""

    def as_json(self) -> dict[str, str]:
        """Return it as programs read it."""
        return {
            "check": self.what,
            "level": self.level.value,
            "message": self.message,
            "remedy": self.remedy,
        }


def ok(what: str, message: str) -> Finding:
    """Return that something is as it should be."""
    return Finding(what, Level.OK, message)


def warning(what: str, message: str, remedy: str) -> Finding:
    """Return that something should be better."""
    return Finding(what, Level.WARNING, message, remedy)


def problem(what: str, message: str, remedy: str) -> Finding:
    """Return that something does not work."""
    return Finding(what, Level.PROBLEM, message, remedy)
