"""`seen worker --check`: whether a worker of this machine runs. Loads no Celery."""

from __future__ import annotations

from fnmatch import fnmatchcase

from cache import ttl
from cli.context import open_cache
from cli.errors import FAILED
from cli.local_stack import command_lines
from cli.output import formatting


def check(queue: str, *, as_json: bool) -> int:
    """Print the workers of one kind whose heartbeat is recent; return the exit status.

    Raises:
        StoreUnavailableError: the store does not answer.
    """
    pattern = command_lines.node_pattern(queue)
    with open_cache() as cache:
        names = [one.name for one in cache.workers.running() if fnmatchcase(one.name, pattern)]
    if as_json:
        formatting.print_json({"ok": bool(names), "workers": names})
    else:
        none = f"no worker of {queue} has sent a heartbeat within {ttl.WORKER_HEARTBEAT} s"
        print(", ".join(names) or none)
    return 0 if names else FAILED
