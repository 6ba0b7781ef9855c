"""GIDs: 16 hexadecimal digits that stand for a job for good. They are the last ones of its id."""

from __future__ import annotations

import re

from api.rpc.errors import RpcError
from database.aria2 import QueuePlaces
from domain.access import Principal, visible_user
from worker.runtime import Runtime

LENGTH = 16
_DIGITS = re.compile(rf"[0-9a-f]{{1,{LENGTH}}}", re.ASCII)
#: Jobs whose GIDs have a given beginning are looked through up to this number; more are not unique.
_MOST = 100


def gid_of(job_id: str) -> str:
    """Return the GID of a job."""
    return job_id.replace("-", "")[-LENGTH:]


def find(gid: str, principal: Principal, runtime: Runtime) -> str:
    """Return the id of the job that a GID, or the beginning of one, stands for.

    A beginning is compared with the GIDs of jobs that the principal sees.

    Raises:
        RpcError: it is no GID, or that of no job or of several.
        DatabaseUnavailableError: without database.
    """
    digits = gid.lower()
    if not _DIGITS.fullmatch(digits):
        raise RpcError(f"Invalid GID {_shown(gid)}")
    bounds = digits.ljust(LENGTH, "0"), digits.ljust(LENGTH, "f")
    found = QueuePlaces(runtime.database).with_gid(*bounds, limit=_MOST + 1)
    user = visible_user(principal)
    seen = [one.job_id for one in found if user in (None, one.user_id)]
    if len(seen) > 1 or len(found) > _MOST:
        raise RpcError(f"GID {digits} is not unique")
    if not seen:
        raise RpcError(f"GID {gid} is not found")
    return seen[0]


def _shown(gid: str) -> str:
    """Return what an answer repeats of a wrong GID."""
    return gid if len(gid) <= 2 * LENGTH else f"{gid[: 2 * LENGTH]}…"
