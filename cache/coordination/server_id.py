"""The id of the store's server process: another one means that it has restarted."""

from __future__ import annotations

from cache.stats import parse_info
from cache.store.flow import Batch, Flow


def server_id() -> Flow[str | None]:
    """Return the id of the server process; None if INFO does not have one or is not permitted.

    Redis and Valkey have `run_id`. Dragonfly has none, but its `master_replid` changes at every start.
    """
    replies = yield Batch(("INFO", "server"), ("INFO", "replication"), errors_as_replies=True)
    info = parse_info(b"\n".join(reply for reply in replies if isinstance(reply, bytes)))
    return info.get("run_id") or info.get("master_replid")
