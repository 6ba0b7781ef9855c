"""`/v1/users` and `/v1/keys`: users with their roles and sign-in links, and API keys."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Query, Response

from api.answers import Json
from api.authentication import Admin, AnyPrincipal, CheckedRoute
from api.documented import problems
from api.models.accounts import (
    KeyCreation,
    KeyPrefix,
    Keys,
    NewKeyDict,
    NewLinkDict,
    UserChange,
    UserCreation,
    UserName,
    Users,
)
from api.problems import FieldProblem, InvalidFieldsError
from api.services import TheServices
from domain.access import Scope
from tasks.api import accounts
from tasks.api.accounts.as_json import UserDict, key_as_json, user_as_json

router = APIRouter(prefix="/v1", tags=["accounts"], route_class=CheckedRoute)


@router.get("/users", response_model=Users, responses=problems())
def list_users(services: TheServices, principal: Admin) -> Json:
    """List the users by name, disabled ones, too."""
    found = accounts.list_users(principal, runtime=services.runtime)
    return Json({"users": [user_as_json(user) for user in found]})


@router.post("/users", response_model=UserDict, status_code=201, responses=problems(409))
def add_user(services: TheServices, principal: Admin, body: UserCreation) -> Json:
    """Add a user. It signs in with a link or a key."""
    user = accounts.add_user(principal, body.name, body.role, runtime=services.runtime)
    return Json(user_as_json(user), status_code=201)


@router.patch("/users/{name}", response_model=UserDict, responses=problems(404))
def change_user(services: TheServices, principal: Admin, name: UserName, body: UserChange) -> Json:
    """Change a user's role, or disable it: that ends its keys and sessions for good."""
    if (body.role is None) == (body.disabled is None):
        raise InvalidFieldsError(
            [FieldProblem(pointer="/role", detail="Give role or disabled, one of them.")]
        )
    if body.role is not None:
        return Json(
            user_as_json(accounts.set_role(principal, name, body.role, runtime=services.runtime))
        )
    change = accounts.disable_user if body.disabled else accounts.enable_user
    return Json(user_as_json(change(principal, name, runtime=services.runtime)))


@router.post(
    "/users/{name}/link", response_model=NewLinkDict, status_code=201, responses=problems(404, 409)
)
def make_link(services: TheServices, principal: Admin, name: UserName) -> Json:
    """Make a link with which a user signs in once, within ten minutes."""
    link = accounts.create_link(principal, name, runtime=services.runtime)
    expires_at = link.expires_at.isoformat()
    return Json(
        {"user": link.user_id, "token": link.token, "expires_at": expires_at}, status_code=201
    )


@router.get("/keys", response_model=Keys, responses=problems(404))
def list_keys(
    services: TheServices,
    principal: AnyPrincipal,
    user: Annotated[
        str | None, Query(max_length=64, description="Of this user; an admin sees those of all.")
    ] = None,
) -> Json:
    """List keys by the part that is no secret; revoked and expired ones, too."""
    of = user if user is not None or Scope.ADMIN in principal.scopes else principal.user_id
    found = accounts.list_keys(principal, of, runtime=services.runtime)
    return Json({"keys": [key_as_json(key) for key in found]})


@router.post("/keys", response_model=NewKeyDict, status_code=201, responses=problems(404, 409))
def create_key(services: TheServices, principal: AnyPrincipal, body: KeyCreation) -> Json:
    """Make a key. Its secret is in this answer alone."""
    expires_at = None if body.days is None else datetime.now(UTC) + timedelta(days=body.days)
    new = accounts.create_key(
        principal,
        body.user or principal.user_id or "",
        name=body.name,
        scopes=body.scopes,
        expires_at=expires_at,
        runtime=services.runtime,
    )
    return Json({"key": new.secret, **key_as_json(new.key)}, status_code=201)


@router.delete("/keys/{prefix}", status_code=204, responses=problems(404))
def revoke_key(services: TheServices, principal: AnyPrincipal, prefix: KeyPrefix) -> Response:
    """End a key at once and for good, and the sessions that were started with it."""
    accounts.revoke_key(principal, prefix, runtime=services.runtime)
    return Response(status_code=204)
