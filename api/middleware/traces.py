"""A span for each request, where traces are on: in the trace of a caller that has signed in."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.authentication import has_signed_in
from api.middleware.metrics import shown_method
from domain.urls import display_url
from worker.tracing.recorder import Recorder, values
from worker.tracing.traceparent import TraceParent, read_traceparent


class Traces:
    """Records requests. What they submit is linked with them (`Recorder.submitted`)."""

    def __init__(self, app: ASGIApp, recorder: Recorder) -> None:
        self._app, self._recorder = app, recorder

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request, and record it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        method, parent = shown_method(scope), await _caller(scope)
        with self._recorder.request(method, parent) as span:

            async def send_and_note(message: Message) -> None:
                if message["type"] == "http.response.start":
                    span.set_attributes(_attributes(scope, message["status"]))
                await send(message)

            try:
                await self._app(scope, receive, send_and_note)
            finally:
                path = getattr(scope.get("route"), "path_format", None)
                span.update_name(f"{method} {path}" if path else method)


async def _caller(scope: Scope) -> TraceParent | None:
    """Return the span of a caller that has signed in.

    Others could add spans to traces that are not theirs, and have all of their requests recorded.
    """
    sent = Headers(scope=scope).getlist("traceparent")
    parent = read_traceparent(sent[0]) if len(sent) == 1 else None
    is_believed = parent is not None and await has_signed_in(Request(scope))
    return parent if is_believed else None


def _attributes(scope: Scope, status: int) -> dict[str, str | int | float | bool]:
    return values(
        {
            "http.request.method": shown_method(scope),
            "http.response.status_code": status,
            "url.path": display_url(scope["path"]),
            "enduser.id": scope.get("state", {}).get("user"),
        }
    )
