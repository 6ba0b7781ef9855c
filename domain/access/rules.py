"""The rules: what a principal sees and changes. No way in has any of its own.

A job that a principal may not see is to it the same as one that does not exist: `require_job` raises the
same error for both, so that no answer shows which ids there are.
"""

from __future__ import annotations

from dataclasses import replace

from domain.access.principal import SCOPES_OF_ROLE, Kind, Principal, Role, Scope
from domain.errors import ForbiddenError, UnknownJobError
from domain.job import Job, JobFilter

_SEES_ALL = frozenset({Role.ADMIN, Role.VIEWER})


def require(principal: Principal, scope: Scope) -> None:
    """Raise ForbiddenError unless the principal has this scope."""
    if scope not in principal.scopes:
        raise ForbiddenError(
            f"This needs the scope {scope.value!r}, which the role {principal.role.value!r} or the "
            "key of this request does not have."
        )


def visible_user(principal: Principal) -> str | None:
    """Return the user whose jobs alone a principal sees; None: those of all users."""
    return None if principal.role in _SEES_ALL else principal.user_id


def sees(principal: Principal, job: Job) -> bool:
    """Return whether a principal may read a job."""
    return Scope.READ in principal.scopes and _reaches(principal, job)


def changes(principal: Principal, job: Job) -> bool:
    """Return whether a principal may change a job."""
    return Scope.CONTROL in principal.scopes and _reaches(principal, job)


def require_job(principal: Principal, scope: Scope, job_id: str, job: Job | None) -> Job:
    """Return the job that was found for an id, if the principal may use it with this scope.

    Args:
        principal: who asks.
        scope: what for.
        job_id: as it was asked for.
        job: None if there is none.

    Raises:
        ForbiddenError: the principal does not have the scope, whatever the job.
        UnknownJobError: there is no such job, or it is another user's.
    """
    require(principal, scope)
    if job is None or not _reaches(principal, job):
        raise UnknownJobError(job_id)
    return job


def filter_for(principal: Principal, where: JobFilter) -> JobFilter | None:
    """Return a filter for the jobs that it selects and the principal sees; None: there can be none."""
    user_id = visible_user(principal)
    if user_id is None:
        return where
    return replace(where, user_id=user_id) if where.user_id in (None, user_id) else None


def owner_for(principal: Principal, wanted: str | None) -> str | None:
    """Return the owner of a job that the principal submits, who may ask for another owner.

    Raises:
        ForbiddenError: it may not submit, or not for another user: only admins do.
    """
    require(principal, Scope.SUBMIT)
    if wanted is None or wanted == principal.user_id:
        return principal.user_id
    if principal.role is Role.ADMIN:
        return wanted
    raise ForbiddenError("Only an admin submits jobs for another user. Leave the owner out.")


def require_account(principal: Principal, user_id: str) -> None:
    """Raise ForbiddenError unless the principal may manage the keys and sessions of a user.

    Admins manage all. Others manage their own, signed in by a session that a link has started: a key
    makes no further keys, which would stay when it is revoked.
    """
    is_person = principal.kind is Kind.SESSION and not principal.is_by_key
    is_own = principal.user_id == user_id and is_person
    if not is_own:
        require(principal, Scope.ADMIN)


def require_end_of_sessions(principal: Principal, user_id: str) -> None:
    """Raise ForbiddenError unless the principal may end all sessions of a user.

    Admins end those of all. Others end their own, signed in by a session that a link has started, or a
    key that may change what the user has (`control`). A key that only reads ends no one's sessions.
    """
    may_change = principal.kind is Kind.SESSION and Scope.CONTROL in principal.scopes
    if principal.user_id != user_id or not may_change:
        require_account(principal, user_id)


def require_to_give(principal: Principal, role: Role | None) -> None:
    """Raise ForbiddenError unless the principal may give a role, or with None a sign-in link.

    A key gives no one more than it may do itself: a link has all that its user may, and some roles see
    what all users have.
    """
    require(principal, Scope.ADMIN)
    if role is not None and role not in _SEES_ALL:
        return
    missing = SCOPES_OF_ROLE[role or Role.ADMIN] - principal.scopes
    if missing:
        what = "A sign-in link" if role is None else f"The role {role.value!r}"
        lacking = ", ".join(sorted(missing))
        raise ForbiddenError(f"{what} gives more than the key of this request has: {lacking}.")


def _reaches(principal: Principal, job: Job) -> bool:
    return visible_user(principal) in (None, job.user_id)
