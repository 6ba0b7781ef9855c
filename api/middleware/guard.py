"""Which requests are served: those that name this host, and that no page of another site has made."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from api.problems import problem
from api.services import RPC_PATH, Services, host_of_authority

_READING = frozenset({"GET", "HEAD", "OPTIONS"})
#: Values of Sec-Fetch-Site that a page of this API, a typed address or a program has.
_OWN_SITES = frozenset({"same-origin", "none"})


class Guard:
    """Refuses foreign Host headers (DNS rebinding) and cross-site requests.

    Cookies are SameSite=Strict, which a page on another port of this machine passes: it is the same
    site, and another origin.
    """

    def __init__(self, app: ASGIApp, services: Services) -> None:
        self._app, self._services = app, services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with a problem, or let the request through."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._services.is_own_host(hosts[0]):
            refusal = problem(421, "unknown_host", _FOREIGN_HOST, scope["path"])
        elif not (
            self._is_rpc_page(scope, headers)
            or (self._is_own_origin(scope, headers, hosts[0]) and _is_own_site(scope, headers))
        ):
            refusal = problem(403, "cross_site", _CROSS_SITE, scope["path"])
        elif _has_two_lengths(headers):
            close = {"Connection": "close"}
            refusal = problem(400, "malformed", _TWO_LENGTHS, scope["path"], headers=close)
        else:
            await self._app(scope, receive, send)
            return
        if scope["type"] == "websocket":
            await send({"type": "websocket.close"})  # before it is accepted: 403
            return
        await refusal(scope, receive, send)

    def _is_rpc_page(self, scope: Scope, headers: Headers) -> bool:
        """Return whether a page that may call aria2's JSON-RPC does so."""
        origins = headers.getlist("origin")
        is_one = scope["path"] == RPC_PATH and len(origins) == 1
        return is_one and self._services.allows_rpc_origin(origins[0])

    def _is_own_origin(self, scope: Scope, headers: Headers, host: str) -> bool:
        """Return whether Origin, if there is one, is the address under which the API was called."""
        origins = headers.getlist("origin")
        if not origins:
            return True
        try:
            parts = urlsplit(origins[0])
        except ValueError:
            return False
        scheme = "https" if self._services.is_secure_request(scope) else "http"
        is_same = parts.netloc.lower() == host.lower() and parts.scheme in {scheme, "https"}
        return len(origins) == 1 and is_same and host_of_authority(parts.netloc) is not None


def _has_two_lengths(headers: Headers) -> bool:
    """Return whether a proxy may have read another end of the request (RFC 9112, 6.1)."""
    return "transfer-encoding" in headers and "content-length" in headers


def _is_own_site(scope: Scope, headers: Headers) -> bool:
    """Return whether a browser says that a page of this API, or a person, has made the request."""
    site = headers.get("sec-fetch-site")
    if site is None or site in _OWN_SITES:
        return True
    is_link = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") in {
        None,
        "document",
    }
    return is_link and scope.get("method") in _READING


_FOREIGN_HOST = (
    "The header Host does not name this service. SEEN_API_HOSTS lists the names that it answers to."
)
_TWO_LENGTHS = "The request has Content-Length and Transfer-Encoding; send one of them."
_CROSS_SITE = "A page of another site has made this request (Origin, Sec-Fetch-Site)."
