"""How long each kind of value lives, in seconds, unless its caller says otherwise."""

from __future__ import annotations

from typing import Final

SESSION: Final = 24 * 3600
USER: Final = 15 * 60
CATALOG: Final = 5 * 60
DOWNLOAD: Final = 30
RATE_LIMIT: Final = 60
LOCK: Final = 30
SEARCH: Final = 10 * 60
RECOMMENDATION: Final = 3600

#: A finished progress hash that the database does not have yet must outlive a night without database.
UNPERSISTED: Final = 24 * 3600

#: Beat's sign of life.
BEAT: Final = 24 * 3600

#: Slots of a job that says nothing any more.
SLOTS: Final = 30
#: A process's note of what it demands of a limited rate; written four times a second.
DEMAND: Final = 3
