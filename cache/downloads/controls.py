"""Control requests to running downloads: a field of the progress hash that the worker's flush reads."""

from __future__ import annotations

from collections.abc import Sequence

from cache import arguments
from cache.downloads import checks
from cache.keys import KeyBuilder
from cache.store import scripts
from cache.store.flow import Flow


class Controls:
    """Writes and withdraws control requests. Claims are given as (job id, fence).

    Args:
        keys: the key builder.
        ttl_ms: TTL in milliseconds of a hash that a request creates.
    """

    def __init__(self, keys: KeyBuilder, *, ttl_ms: int) -> None:
        self._keys = keys
        self._ttl_ms = ttl_ms

    def send(self, control: str, claims: Sequence[tuple[str, int]]) -> Flow[None]:
        """Write a request for each claim, unless a stronger one exists."""
        # Any string: a worker ignores a request that only a newer version knows.
        arguments.string("control", control)
        commands = [
            scripts.call("progress_control", self._key(job_id), control, fence, self._ttl_ms)
            for job_id, fence in checks.pairs("claims", claims)
        ]
        yield from scripts.run_pipeline(["progress_control"], commands)

    def withdraw_pause(self, claims: Sequence[tuple[str, int]]) -> Flow[None]:
        """Remove the request "pause" of each claim."""
        commands = [
            scripts.call("progress_unpause", self._key(job_id), fence)
            for job_id, fence in checks.pairs("claims", claims)
        ]
        yield from scripts.run_pipeline(["progress_unpause"], commands)

    def _key(self, job_id: str) -> str:
        return self._keys.download_job_key(job_id)
