"""The result of one check of `seen doctor`: level, message and remedy."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How severe a finding is."""

    OK = "ok"
    WARNING = "warning"
    """It works now, but may fail later or under load."""
    PROBLEM = "problem"
    """It does not work."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check."""

    what: str
    level: Level
    message: str
    remedy: str = ""

    def as_json(self) -> dict[str, str]:
        """Return it as a dict for JSON."""
        return {
            "check": self.what,
            "level": self.level.value,
            "message": self.message,
            "remedy": self.remedy,
        }


def ok(what: str, message: str) -> Finding:
    """Return a finding without a problem."""
    return Finding(what, Level.OK, message)


def warning(what: str, message: str, remedy: str) -> Finding:
    """Return a finding of something to improve."""
    return Finding(what, Level.WARNING, message, remedy)


def problem(what: str, message: str, remedy: str) -> Finding:
    """Return a finding of something that does not work."""
    return Finding(what, Level.PROBLEM, message, remedy)
