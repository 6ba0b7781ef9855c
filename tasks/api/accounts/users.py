"""Users: added, listed, disabled, enabled; their roles."""

from __future__ import annotations

import logging

from database.accounts import User, UserRepository
from domain.access import Principal, Role, Scope, require, require_to_give
from domain.access.errors import UnknownUserError, UserExistsError
from domain.access.names import check_role, check_user_name
from tasks.api.accounts.parts import AccountRuntime
from tasks.api.accounts.sessions import forget_sessions

logger = logging.getLogger(__name__)

#: The user that `seen up` makes where there is no admin.
FIRST_ADMIN = "admin"


def add_user(principal: Principal, name: str, role: str, *, runtime: AccountRuntime) -> User:
    """Add a user and return it.

    Raises:
        ForbiddenError: only admins may, and not with a key that has less than the role.
        InvalidInputError: the name or the role is not valid.
        UserExistsError: there is a user of this name, perhaps a disabled one.
    """
    require(principal, Scope.ADMIN)
    user = User(id=check_user_name(name), email="", display_name=name, role=check_role(role))
    require_to_give(principal, check_role(role))
    added = UserRepository(runtime.database).add(user, now=runtime.now())
    if added is None:
        raise UserExistsError(name)
    logger.info("User %s was added with the role %s", added.id, added.role)
    return added


def list_users(principal: Principal, *, runtime: AccountRuntime) -> list[User]:
    """Return all users by name. Raises ForbiddenError: only admins may."""
    require(principal, Scope.ADMIN)
    return UserRepository(runtime.database).all()


def set_role(principal: Principal, name: str, role: str, *, runtime: AccountRuntime) -> User:
    """Change a user's role and return it; the next request with its keys and sessions has it.

    Raises:
        ForbiddenError: only admins may, and not with a key that has less than the role.
        InvalidInputError: the role is not valid.
        UnknownUserError: there is no such user.
    """
    require(principal, Scope.ADMIN)
    new = check_role(role)
    require_to_give(principal, new)
    user = UserRepository(runtime.database).set_role(name, new, now=runtime.now())
    return _changed(user, name, f"has the role {new.value}")


def disable_user(principal: Principal, name: str, *, runtime: AccountRuntime) -> User:
    """End a user's keys, sessions and links at once and for good, and let it not sign in; return it.

    Its jobs go on, and stay its own. Nothing is delivered to its webhooks any more.

    Raises:
        ForbiddenError: only admins may.
        UnknownUserError: there is no such user.
    """
    require(principal, Scope.ADMIN)
    user = UserRepository(runtime.database).disable(name, now=runtime.now())
    disabled = _changed(user, name, "is disabled")
    forget_sessions(name, runtime=runtime)
    return disabled


def enable_user(principal: Principal, name: str, *, runtime: AccountRuntime) -> User:
    """Let a disabled user sign in again, with new keys and links; return it.

    Raises:
        ForbiddenError: only admins may.
        UnknownUserError: there is no such user.
    """
    require(principal, Scope.ADMIN)
    user = UserRepository(runtime.database).enable(name, now=runtime.now())
    return _changed(user, name, "is enabled")


def any_admin(*, runtime: AccountRuntime) -> User | None:
    """Return an admin who may sign in, for the link that `seen up` prints; make one if there is no user.

    None: there are users, and no admin among them is enabled. That was a person's choice.
    """
    users = UserRepository(runtime.database)
    found = users.all()
    for user in found:
        if user.role == Role.ADMIN and user.is_enabled:
            return user
    if found:
        return None
    admin = User(id=FIRST_ADMIN, email="", display_name=FIRST_ADMIN, role=Role.ADMIN)
    return users.add(admin, now=runtime.now()) or users.get(FIRST_ADMIN)


def _changed(user: User | None, name: str, what: str) -> User:
    if user is None:
        raise UnknownUserError(name)
    logger.info("User %s %s", user.id, what)
    return user
