"""Methods that read: downloads, their files and URIs, lists, numbers, the version."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from api.rpc.callers import Caller
from api.rpc.errors import RpcError
from api.rpc.structs import Structs
from database.aria2 import QueuePlaces
from domain.access import Scope, filter_for, visible_user
from domain.job import FINISHED, RUNNING, Job, JobFilter, JobStatus
from seen_local.version import version
from tasks.api import job_page
from tasks.api.job_view import JobReader, JobView

#: The version of aria2 whose interface this is.
ARIA2 = "1.36.0"
_FEATURES = ("Async DNS", "GZip", "HTTPS", "Message Digest")
#: The lists of waiting and active downloads have so many at most.
MOST_WAITING = 10_000
#: That of stopped ones has the newest: as aria2's `--max-download-result`.
MOST_STOPPED = 1_000
#: Downloads of a list that are read at once.
_BATCH = 500
#: Characters of an id: those of a list are read, however few downloads of it are asked for.
_ID = 36


def view_of(caller: Caller, gid: str) -> JobView:
    """Return one download with its newest progress."""
    (view,) = _merged(caller, [caller.job(gid, Scope.READ)])
    return view


def show_one(caller: Caller, gid: str, keys: Sequence[str] = ()) -> dict[str, Any]:
    """Return one download."""
    return Structs(caller).status(view_of(caller, gid), frozenset(keys))


def get_uris(caller: Caller, gid: str) -> list[dict[str, str]]:
    """Return the URIs of a download that has not ended."""
    view = view_of(caller, gid)
    if view.is_finished:
        raise RpcError(f"No URI data is available for GID#{caller.gid}")
    return Structs(caller).uris(view)


def get_files(caller: Caller, gid: str) -> list[dict[str, Any]]:
    """Return the file of a download."""
    return Structs(caller).files(view_of(caller, gid))


def get_servers(caller: Caller, gid: str) -> list[dict[str, Any]]:
    """Return the server of an active download."""
    view = view_of(caller, gid)
    if view.status not in RUNNING:
        raise RpcError(f"No active download for GID#{caller.gid}")
    return Structs(caller).servers(view)


def get_peers(caller: Caller, gid: str) -> list[Any]:
    """Return nothing: there are no peers."""
    if view_of(caller, gid).status not in RUNNING:
        raise RpcError(f"No peer data is available for GID#{caller.gid}")
    return []


def list_active(caller: Caller, keys: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Return the downloads that run, the oldest first."""
    where = _seen(caller)
    found = [] if where is None else _running(caller, where)
    return _shown(caller, found, keys)


def list_waiting(
    caller: Caller, offset: int, number: int, keys: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """Return a part of the list of those that wait or are paused."""
    return _part(caller, waiting_ids(caller), offset, number, keys)


def list_stopped(
    caller: Caller, offset: int, number: int, keys: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """Return a part of the list of those that have ended."""
    where = _seen(caller)
    places = QueuePlaces(caller.runtime.database)
    ids = [] if where is None else places.stopped(where, limit=MOST_STOPPED)
    caller.spend(_ID * len(ids))
    return _part(caller, ids, offset, number, keys)


def waiting_ids(caller: Caller) -> list[str]:
    """Return the waiting and paused jobs that the caller sees, in the order of the list."""
    where = _seen(caller)
    places = QueuePlaces(caller.runtime.database)
    ids = [] if where is None else places.waiting(where, limit=MOST_WAITING)
    caller.spend(_ID * len(ids))
    return ids


def get_global_stat(caller: Caller) -> dict[str, str]:
    """Return the numbers of the downloads that the caller sees, and their rate."""
    found = job_page.totals(user_id=visible_user(caller.principal), runtime=caller.runtime)
    counts = {status: found.jobs.get(status, 0) for status in JobStatus}
    active = sum(counts[status] for status in RUNNING)
    stopped = sum(counts[status] for status in FINISHED)
    return {
        "downloadSpeed": str(round(found.bytes_per_second or 0)),
        "numActive": str(active),
        "numStopped": str(min(stopped, MOST_STOPPED)),
        "numStoppedTotal": str(stopped),
        "numWaiting": str(sum(counts.values()) - active - stopped),
        "uploadSpeed": "0",
    }


def get_version(_caller: Caller) -> dict[str, Any]:
    """Return the version of aria2's interface, and this service's own."""
    return {"enabledFeatures": list(_FEATURES), "seenVersion": version(), "version": ARIA2}


def get_session_info(_caller: Caller) -> dict[str, str]:
    """Return what clients know a restart by; here only another version of the service is one."""
    digest = hashlib.sha1(f"seen {version()}".encode(), usedforsecurity=False)
    return {"sessionId": digest.hexdigest()}


def _seen(caller: Caller) -> JobFilter | None:
    return filter_for(caller.principal, JobFilter())


def _running(caller: Caller, where: JobFilter) -> list[JobView]:
    jobs = caller.runtime.jobs.find(where, statuses=sorted(RUNNING), limit=MOST_WAITING)
    return _merged(caller, jobs[::-1])


def _part(
    caller: Caller, ids: Sequence[str], offset: int, number: int, keys: Sequence[str]
) -> list[dict[str, Any]]:
    """Return `number` downloads of a list; a negative offset counts from its end, backwards."""
    if offset < 0:
        ids, offset = ids[::-1], -offset - 1
    wanted = ids[offset : offset + number]
    shown: list[dict[str, Any]] = []
    for start in range(0, len(wanted), _BATCH):  # a message that asks for too much ends early
        batch = wanted[start : start + _BATCH]
        found = caller.runtime.jobs.get_many(batch)
        views = _merged(caller, [found[one] for one in batch if one in found])
        shown += _shown(caller, views, keys)
    return shown


def _merged(caller: Caller, jobs: Sequence[Job]) -> list[JobView]:
    return JobReader(caller.runtime.jobs, caller.runtime.cache.download).merge(jobs)


def _shown(caller: Caller, views: Sequence[JobView], keys: Sequence[str]) -> list[dict[str, Any]]:
    structs, wanted = Structs(caller), frozenset(keys)
    return [structs.status(view, wanted) for view in views]
