"""From a request to its principal: a bearer token (an API key or a session), or the session's cookie."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterator
from contextvars import copy_context
from functools import partial
from typing import Annotated, Any

from fastapi import Depends, Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from fastapi.security import APIKeyCookie, HTTPAuthorizationCredentials, HTTPBearer

from api.problems import FieldProblem, InvalidFieldsError
from api.services import Services
from cache.models import RateDecision
from domain.access import Principal, Scope, require
from domain.errors import AuthenticationError, SeenError
from tasks.api import accounts

#: The name under https says to browsers that no other host and no path may set it.
COOKIE, SECURE_COOKIE = "seen_session", "__Host-seen_session"

#: Where the scope of a request has its principal, or why it has none, once that was asked.
_PRINCIPAL = "seen.principal"
_bearer = HTTPBearer(
    auto_error=False,
    scheme_name="bearer",
    description="An API key (`seen key add`), or the token of a session.",
)
_cookie = APIKeyCookie(
    name=COOKIE,
    auto_error=False,
    scheme_name="cookie",
    description=f"A session of a browser; under https its name is {SECURE_COOKIE}.",
)
#: The token in the header Authorization, as a parameter of a route.
BearerToken = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]


def cookie_name(request: Request, services: Services) -> str:
    """Return the name of the session's cookie."""
    return SECURE_COOKIE if services.is_secure_request(request.scope) else COOKIE


def client_address(request: Request) -> str | None:
    """Return the address of the client; of the nearest proxy, where that is not a trusted one."""
    return request.client.host if request.client else None


def presented(
    request: Request, services: Services, bearer: HTTPAuthorizationCredentials | None
) -> str | None:
    """Return the secret that a request presents; a bearer token goes before a cookie."""
    if bearer is not None:
        return bearer.credentials
    return request.cookies.get(cookie_name(request, services))


async def sign_in(request: Request, scope: Scope | None) -> Principal:
    """Return who makes a request, and count it, the first time it is asked; its body is not read.

    Args:
        request: the request.
        scope: that its route needs; None for none.

    Raises:
        AuthenticationError: nothing valid is presented.
        RateLimitedError: the user has made too many requests.
        ForbiddenError: the principal has not this scope.
    """
    services: Services = request.app.state.services
    found: Principal | SeenError | None = request.scope.get(_PRINCIPAL)
    if found is None:
        bearer = await _bearer(request)
        check = partial(_outcome, request, services, bearer)
        found = await services.threads.call(partial(copy_context().run, check))
        request.scope[_PRINCIPAL] = found
    if isinstance(found, SeenError):
        raise found
    if scope is not None:
        require(found, scope)
    return found


async def has_signed_in(request: Request) -> bool:
    """Return whether a request has a principal; what it lacks is raised when its route asks for it."""
    try:
        await sign_in(request, None)
    except SeenError:
        return False
    return True


def _outcome(
    request: Request, services: Services, bearer: HTTPAuthorizationCredentials | None
) -> Principal | SeenError:
    try:
        return _authenticate(request, services, bearer)
    except SeenError as error:
        return error


def _authenticate(
    request: Request, services: Services, bearer: HTTPAuthorizationCredentials | None
) -> Principal:
    secret = presented(request, services, bearer)
    if secret is None:
        raise AuthenticationError(
            "This needs an API key (Authorization: Bearer …) or a session: POST /v1/session."
        )
    runtime = services.runtime
    principal = accounts.authenticate(secret, address=client_address(request), runtime=runtime)
    request.state.user = principal.user_id  # for the log
    decision = accounts.limit_requests(principal, runtime=runtime)
    request.state.rate_limit = decision
    return principal


def rate_limit_headers(decision: RateDecision | None) -> dict[str, str]:
    """Return what is left of a user's limit, as draft-ietf-httpapi-ratelimit-headers has it."""
    if decision is None or not decision.states:
        return {}
    state = decision.states[0]
    return {
        "RateLimit-Policy": f'"requests";q={state.limit};w={round(state.window)}',
        "RateLimit": f'"requests";r={state.remaining};t={round(state.reset)}',
    }


#: The dependencies that sign in, and the scope that each requires.
_SCOPES: dict[Callable[..., Any] | None, Scope | None] = {}


def _with(scope: Scope | None) -> Callable[..., Awaitable[Principal]]:
    async def check(
        request: Request,
        # Both are for OpenAPI: `sign_in` reads the request.
        _by_bearer: BearerToken,
        _by_cookie: Annotated[str | None, Depends(_cookie)],
    ) -> Principal:
        return await sign_in(request, scope)

    _SCOPES[check] = scope
    return check


def _needs(scope: Scope | None) -> Any:
    return Depends(_with(scope))


class CheckedRoute(APIRoute):
    """A route that reads no body before the sign-in, and refuses parameters that it does not have.

    FastAPI reads the body before it calls dependencies, and ignores parameters without a meaning: with a
    misspelled filter a list would have all downloads.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what serves a request."""
        serve = super().get_route_handler()
        everything = list(_with_dependencies(self.dependant))
        scopes = [_SCOPES[one.call] for one in everything if one.call in _SCOPES]
        known = frozenset(field.alias for one in everything for field in one.query_params)
        reads_body = self.body_field is not None

        async def checked(request: Request) -> Response:
            if scopes and (reads_body or request.url.query):
                await sign_in(request, scopes[0])
            refuse_unknown_parameters(request, known)
            return await serve(request)

        return checked


def _with_dependencies(dependant: Dependant) -> Iterator[Dependant]:
    yield dependant
    for one in dependant.dependencies:
        yield from _with_dependencies(one)


def refuse_unknown_parameters(request: Request, known: Collection[str]) -> None:
    """Raise InvalidFieldsError if the address of a request has parameters that its route has not."""
    unknown = sorted(set(request.query_params) - set(known))
    if unknown:
        names = f"There are: {', '.join(sorted(known))}." if known else "There is none here."
        raise InvalidFieldsError(
            [
                FieldProblem(
                    pointer=name[:64], detail=f"There is no parameter of this name. {names}"
                )
                for name in unknown[:20]
            ]
        )


#: As a parameter of a route: any principal.
AnyPrincipal = Annotated[Principal, _needs(None)]


#: As parameters of routes: a principal that has the scope.
Reader = Annotated[Principal, _needs(Scope.READ)]
FileReader = Annotated[Principal, _needs(Scope.FILES)]
Submitter = Annotated[Principal, _needs(Scope.SUBMIT)]
Controller = Annotated[Principal, _needs(Scope.CONTROL)]
Admin = Annotated[Principal, _needs(Scope.ADMIN)]
