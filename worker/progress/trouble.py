"""What holds up a download that runs, as its progress shows it."""

from __future__ import annotations

from typing import Any, NamedTuple


class AttemptTrouble(NamedTuple):
    """What holds up a download that runs."""

    code: str
    reason: str

    def fill(self, details: dict[str, Any]) -> None:
        """Add it to the details of an update that have no reason, or no code, of their own."""
        details["reason"] = details.get("reason") or self.reason
        details["error_code"] = details.get("error_code") or self.code


#: Empties the fields that an earlier update has set.
NO_TROUBLE = AttemptTrouble("", "")
