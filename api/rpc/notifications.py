"""`aria2.onDownload…`: what the clients of a process are sent when downloads start and end."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, Protocol

from api.events.hub import EventHub
from api.rpc.gids import gid_of
from domain.job import RUNNING, JobStatus
from tasks.api.job_view import JobView

_START = "aria2.onDownloadStart"
_ENDS: Mapping[JobStatus, str] = {
    JobStatus.PAUSED: "aria2.onDownloadPause",
    JobStatus.CANCELLED: "aria2.onDownloadStop",
    JobStatus.COMPLETED: "aria2.onDownloadComplete",
    JobStatus.FAILED: "aria2.onDownloadError",
}
#: Jobs whose last state is kept, so that nothing is sent twice.
_MOST_KNOWN = 20_000
_START_SECONDS = 10.0
#: Clocks of workers and of this process differ by less than this.
_TOLERANCE = timedelta(minutes=1)


class Client(Protocol):
    """Who is sent notifications."""

    def offer(self, user_id: str | None, message: str) -> None:
        """Send it, if it may see the jobs of this user."""


class _Known(NamedTuple):
    """What was last seen of a job."""

    status: JobStatus
    fence: int


class Notifier:
    """One for a process; belongs to the thread of its event loop. Reads the changes that the hub finds.

    Args:
        hub: of the process.
    """

    def __init__(self, hub: EventHub) -> None:
        self._hub = hub
        self._clients: set[Client] = set()
        self._known: dict[str, _Known] = {}
        self._since = datetime.now(UTC)

    async def add(self, client: Client) -> None:
        """Send a client what happens once this returns."""
        if client in self._clients:
            return
        if not self._clients:
            self._known.clear()
            self._since = datetime.now(UTC) - _TOLERANCE
            self._hub.listen(self._pass_on)
        self._clients.add(client)
        # Without database it is later; calls fail then, too.
        await self._hub.wait_until_started(_START_SECONDS)

    def remove(self, client: Client) -> None:
        """Send it nothing more."""
        if client not in self._clients:
            return
        self._clients.remove(client)
        if not self._clients:
            self._hub.unlisten(self._pass_on)

    def _pass_on(self, views: Sequence[JobView]) -> None:
        for view in views:
            for name in self._events(view):
                message = _message(name, gid_of(view.job.id))
                for client in list(self._clients):
                    client.offer(view.job.user_id, message)

    def _events(self, view: JobView) -> Iterator[str]:
        """Yield what has happened to a job since it was last seen: its start, then its end."""
        job, before = view.job, self._known.pop(view.job.id, None)
        now = _Known(view.status, max(job.fence, view.progress.fence))
        self._known[job.id] = now
        if len(self._known) > _MOST_KNOWN:
            del self._known[next(iter(self._known))]
        if now == before or (before is None and not self._is_new(view)):
            return
        has_started = now.fence > (0 if before is None else before.fence)
        if has_started and (now.status in RUNNING or now.status in _ENDS):
            yield _START
        if now.status in _ENDS and (before is None or now.status is not before.status):
            yield _ENDS[now.status]

    def _is_new(self, view: JobView) -> bool:
        """Return whether the state of a job that was not seen before is of the time of watching."""
        job = view.job
        changed_at = job.started_at if view.status in RUNNING else job.updated_at
        return changed_at is not None and changed_at >= self._since


def _message(name: str, gid: str) -> str:
    content = {"jsonrpc": "2.0", "method": name, "params": [{"gid": gid}]}
    return json.dumps(content, separators=(",", ":"))
