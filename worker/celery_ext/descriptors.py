"""How many file descriptors a download worker needs, and how many downloads a limit allows."""

from __future__ import annotations

import logging
import resource

logger = logging.getLogger(__name__)

#: Of a worker that runs nothing, and of its threads: logs, the store, the broker, the database, Celery's
#: own, checkpoints that are being written.
_BASE = 64
#: Of one download beside its connections: part file, checkpoint, folder, libcurl's own.
_PER_DOWNLOAD = 6
#: Of one connection: pycurl holds a duplicate for a moment.
_PER_CONNECTION = 2


def needed(downloads: int, connections: int) -> int:
    """Return the descriptors that so many downloads need, each with so many connections."""
    return _BASE + downloads * _per_download(connections)


def allowed(limit: int, connections: int) -> int:
    """Return how many downloads a limit of descriptors allows; at least one."""
    return max(1, (limit - _BASE) // _per_download(connections))


def limits() -> tuple[int, int]:
    """Return (soft, hard) of this process; no limit is a number that is never reached."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _number(soft), _number(hard)


def prepare(downloads: int, connections: int) -> int:
    """Raise this process's soft limit as far as `downloads` need it; return how many may run at once.

    Returns `downloads`, or fewer if the hard limit is too low for them, which is logged.
    """
    required = needed(downloads, connections)
    soft, hard = limits()
    if soft < required and soft < hard:
        soft = min(required, hard)
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (soft, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
        )
    if soft >= required:
        return downloads
    fewer = min(downloads, allowed(soft, connections))
    logger.warning(
        "%d downloads at once may need %d file descriptors, and this process may have %d: it runs %d at "
        "once. Raise the hard limit (ulimit -Hn, LimitNOFILE=, --ulimit nofile=)",
        downloads,
        required,
        soft,
        fewer,
    )
    return fewer


def _per_download(connections: int) -> int:
    return _PER_DOWNLOAD + connections * _PER_CONNECTION


def _number(limit: int) -> int:
    return 2**31 if limit == resource.RLIM_INFINITY else limit
