"""Methods that change downloads: pause, unpause, remove, purge, and their place in the queue."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from api.rpc import reading
from api.rpc.callers import Caller
from api.rpc.errors import RpcError
from database.aria2 import QueuePlaces
from domain.access import Role, Scope, filter_for
from domain.errors import IllegalTransitionError, UnknownJobError
from domain.job import Action, Job, JobFilter, JobStatus, Priority
from tasks.api import control
from tasks.api.control import control_matching
from tasks.api.move import move
from tasks.api.remove import remove_many, remove_matching
from worker.runtime import Runtime

OK = "OK"
_ORDER = list(Priority)


def pause(caller: Caller, gid: str) -> str:
    """Stop a download until `unpause`."""
    job = caller.job(gid, Scope.CONTROL)
    _check(job.status not in {JobStatus.PAUSED}, f"GID#{caller.gid} cannot be paused now")
    return _act(control.pause, caller, job, "GID#{} cannot be paused now")


def unpause(caller: Caller, gid: str) -> str:
    """Queue a paused download again; withdraw a pause that is not done yet."""
    job = caller.job(gid, Scope.CONTROL)
    may = job.status is JobStatus.PAUSED or job.control == "pause"
    _check(may, f"GID#{caller.gid} cannot be unpaused now")
    return _act(control.resume, caller, job, "GID#{} cannot be unpaused now")


def remove(caller: Caller, gid: str) -> str:
    """Cancel a download."""
    job = caller.job(gid, Scope.CONTROL)
    _check(not job.is_finished, f"Active Download not found for GID#{caller.gid}")
    return _act(control.cancel, caller, job, "Active Download not found for GID#{}")


def pause_all(caller: Caller) -> str:
    """Pause all downloads that the caller sees."""
    return _act_on_all(Action.PAUSE, caller, JobFilter())


def unpause_all(caller: Caller) -> str:
    """Queue all paused downloads that the caller sees."""
    return _act_on_all(Action.RESUME, caller, JobFilter(JobStatus.PAUSED))


def purge_results(caller: Caller) -> str:
    """Remove the records of the caller's own downloads that have ended; an admin's also of no one's."""
    runtime, principal = caller.runtime, caller.principal
    if principal.user_id is not None:
        remove_matching(JobFilter(user_id=principal.user_id), runtime=runtime)
    if principal.role is Role.ADMIN:
        _purge_without_owner(runtime)
    return OK


def remove_result(caller: Caller, gid: str) -> str:
    """Remove the record of a download that has ended; its file stays."""
    job = caller.job(gid, Scope.CONTROL)
    result = remove_many([job.id], runtime=caller.runtime)
    _check(not result.refused, f"Could not remove download result of GID#{caller.gid}")
    return OK


def change_position(caller: Caller, gid: str, position: int, how: str) -> int:
    """Give a waiting download another priority, and return its place in the list."""
    job = caller.job(gid, Scope.CONTROL)
    priority = _priority(job, position, how)
    ids = reading.waiting_ids(caller)
    _check(job.id in ids, f"GID#{caller.gid} not found in the waiting queue.")
    if priority is not job.priority:
        move(job.id, priority, runtime=caller.runtime)
        ids = reading.waiting_ids(caller)
    return ids.index(job.id) if job.id in ids else len(ids)


def _priority(job: Job, position: int, how: str) -> Priority:
    """Return the priority that comes nearest to a place in the queue."""
    if how == "POS_SET":
        return Priority.HIGH if position <= 0 else Priority.NORMAL
    if how == "POS_END":
        return Priority.LOW if position >= 0 else Priority.NORMAL
    if how == "POS_CUR":
        step = (position > 0) - (position < 0)
        place = _ORDER.index(job.priority) + step
        return _ORDER[min(max(place, 0), len(_ORDER) - 1)]
    raise RpcError("Illegal argument.")


def _act(action: Callable[..., Job], caller: Caller, job: Job, refusal: str) -> str:
    try:
        action(job.id, runtime=caller.runtime)
    except IllegalTransitionError:
        raise RpcError(refusal.format(caller.gid)) from None
    return caller.gid


def _act_on_all(action: Action, caller: Caller, where: JobFilter) -> str:
    allowed = filter_for(caller.principal, where)
    if allowed is not None:
        control_matching(action, allowed, runtime=caller.runtime)
    return OK


def _purge_without_owner(runtime: Runtime) -> None:
    """Remove records of jobs without owner, such as those of `seen add` on this machine."""
    places = QueuePlaces(runtime.database)
    while ids := places.ended_without_owner(limit=control.BATCH):
        with suppress(UnknownJobError):  # another caller removes the same: look again
            remove_many(ids, runtime=runtime)


def _check(is_allowed: bool, refusal: str) -> None:
    if not is_allowed:
        raise RpcError(refusal)
