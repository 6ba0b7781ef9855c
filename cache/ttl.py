"""The default TTL of each kind of value, in seconds."""

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

#: A finished progress hash that is not persisted yet must outlast a night without a database.
UNPERSISTED: Final = 24 * 3600

#: A worker whose last heartbeat is older does not run, or hangs.
WORKER_HEARTBEAT: Final = 20
#: Heartbeats older than this are removed.
WORKERS: Final = 3600
#: Counts of processes that have all ended.
METRICS: Final = 24 * 3600
#: A process that has not published its metrics for so long has ended, or hangs.
METRICS_OF_PROCESS: Final = 20
#: Its record is then kept for so long.
METRICS_RECORD: Final = 3600
#: Beat's last tick.
BEAT: Final = 24 * 3600

#: Slots that are not renewed.
SLOTS: Final = 30
#: A process's demand for a limited rate; written four times a second.
DEMAND: Final = 3
