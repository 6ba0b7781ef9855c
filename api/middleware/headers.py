"""Headers of every response: browsers may neither guess its type, nor frame it, nor keep it."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.authentication import rate_limit_headers
from api.services import Services

#: A route may set another value of these.
DEFAULTS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
#: A year: browsers use https alone from then on.
_HTTPS_ONLY = "max-age=31536000"


class ResponseHeaders:
    """Adds the headers, also to refusals and errors."""

    def __init__(self, app: ASGIApp, services: Services) -> None:
        self._app, self._services = app, services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request, and add headers to its response."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in DEFAULTS.items():
                    headers.setdefault(name, value)
                if self._services.is_secure_request(scope):
                    headers.setdefault("Strict-Transport-Security", _HTTPS_ONLY)
                decision = scope.get("state", {}).get("rate_limit")
                headers.update(rate_limit_headers(decision))
            await send(message)

        await self._app(scope, receive, send_with_headers if scope["type"] == "http" else send)
