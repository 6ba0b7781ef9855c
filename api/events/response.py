"""The response that is a stream of events: counted from its first byte to its last."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable
from contextlib import ExitStack

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from api.events.hub import EventHub, TopicName
from api.events.topic import Topic
from api.problems import on_seen_error
from domain.errors import RateLimitedError

#: No cache, and no proxy that collects a response before it passes it on.
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


class EventStream(Response):
    """Streams a topic if there is room for a watcher, else answers 429.

    The watcher is counted here, where nothing can come between the look and the count, and where its end
    is seen whatever ends it. So no more streams are open than may be, and none stays counted.

    Args:
        hub: of the process.
        name: of the topic.
        owner: whose stream it is; each may have some.
        events: returns the events of the topic.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        hub: EventHub,
        name: TopicName,
        owner: str,
        events: Callable[[Topic], AsyncIterable[bytes]],
    ) -> None:
        self._hub, self._name, self._owner, self._events = hub, name, owner, events
        self.background = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events until the watcher leaves or its stream ends."""
        with ExitStack() as counted:
            response: Response
            try:
                topic = counted.enter_context(self._hub.watching(self._name, self._owner))
            except RateLimitedError as error:
                response = on_seen_error(Request(scope), error)
            else:
                response = StreamingResponse(
                    self._events(topic), media_type=self.media_type, headers=_HEADERS
                )
            await response(scope, receive, send)
