"""`/v1/session`: sign in by a link or a key, who am I, refresh, sign out, sign out everywhere."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from api.answers import Json
from api.authentication import (
    AnyPrincipal,
    BearerToken,
    CheckedRoute,
    client_address,
    cookie_name,
    presented,
)
from api.documented import problems
from api.models.session import SignIn, WhoAmI
from api.problems import FieldProblem, InvalidFieldsError
from api.services import Services, TheServices
from domain.access import Kind, Principal
from domain.errors import ForbiddenError
from tasks.api import accounts
from tasks.api.accounts import NewSession

router = APIRouter(prefix="/v1/session", tags=["session"], route_class=CheckedRoute)

_ANSWERS = {**problems(401, 429, public=True)}


@router.post("", response_model=WhoAmI, responses=_ANSWERS)
def sign_in(request: Request, services: TheServices, body: SignIn) -> Json:
    """Sign in with the token of a sign-in link, once, or with an API key; sets the session's cookie.

    A session that the caller had ends. With `bearer` the token is in the answer, and no cookie is set.
    """
    if (body.link_token is None) == (body.key is None):
        detail = "Give link_token or key, one of them."
        raise InvalidFieldsError([FieldProblem(pointer="/link_token", detail=detail)])
    start = accounts.sign_in if body.key is None else accounts.sign_in_with_key
    session = start(
        body.link_token or body.key,
        address=client_address(request),
        runtime=services.runtime,
        client=request.headers.get("user-agent", ""),
        former=request.cookies.get(cookie_name(request, services)),
    )
    return _answer(request, session, services, bearer=body.bearer)


@router.get("", response_model=WhoAmI, responses=problems())
def who_am_i(principal: AnyPrincipal) -> Json:
    """Return who has signed in, and what it may do."""
    return Json(_as_json(principal))


@router.post("/refresh", response_model=WhoAmI, responses=problems())
def refresh(
    request: Request, services: TheServices, principal: AnyPrincipal, bearer: BearerToken
) -> Json:
    """Replace the session by a new one with a new token; the former token is over."""
    _require_session(principal)
    session = accounts.refresh(
        presented(request, services, bearer),
        address=client_address(request),
        runtime=services.runtime,
    )
    return _answer(request, session, services, bearer=bearer is not None)


@router.delete("", status_code=204, responses=problems())
def sign_out(
    request: Request, services: TheServices, principal: AnyPrincipal, bearer: BearerToken
) -> Response:
    """End this session."""
    _require_session(principal)
    accounts.sign_out(presented(request, services, bearer), runtime=services.runtime)
    return _without_cookie(request, services)


@router.post("/everywhere", status_code=204, responses=problems())
def sign_out_everywhere(
    request: Request, services: TheServices, principal: AnyPrincipal
) -> Response:
    """End all sessions of this user. API keys stay valid."""
    _require_session(principal)
    accounts.sign_out_everywhere(principal, principal.user_id or "", runtime=services.runtime)
    return _without_cookie(request, services)


def _require_session(principal: Principal) -> None:
    if principal.kind is not Kind.SESSION:
        raise ForbiddenError("This is for sessions; `seen key revoke` ends an API key.")


def _as_json(principal: Principal) -> WhoAmI:
    return {
        "user_id": principal.user_id,
        "role": principal.role.value,
        "scopes": sorted(scope.value for scope in principal.scopes),
        "kind": principal.kind.value,
    }


def _answer(request: Request, session: NewSession, services: Services, *, bearer: bool) -> Json:
    content = _as_json(session.principal)
    content["expires_at"] = session.expires_at.isoformat()
    if bearer:
        content["token"] = session.token
        return Json(content)
    answer = Json(content)
    answer.set_cookie(
        cookie_name(request, services),
        session.token,
        expires=session.expires_at,
        path="/",
        secure=services.is_secure_request(request.scope),
        httponly=True,
        samesite="strict",
    )
    return answer


def _without_cookie(request: Request, services: Services) -> Response:
    answer = Response(status_code=204)
    answer.delete_cookie(
        cookie_name(request, services),
        path="/",
        secure=services.is_secure_request(request.scope),
        httponly=True,
        samesite="strict",
    )
    return answer
