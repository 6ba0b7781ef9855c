"""Follow downloads: events as they come, and the end of a download."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from seen_client.answers import opened
from seen_client.errors import NoAnswerError, ProblemError, WaitTimeoutError
from seen_client.live import Changed, Event, KnownDownloads, Snapshot
from seen_client.models import ENDED, Download
from seen_client.operations.asking import given
from seen_client.operations.downloads import show
from seen_client.repeating import may_repeat, pause_after, repeated
from seen_client.service import Service, path_of
from seen_client.sse import EventParser
from seen_client.steps import Emit, Flow, Pause, Request, Stream, read

#: The service sends a comment every 15 s. Three that are missing show that the connection is dead.
_SILENCE = 45.0
_ENDED = "The stream of events has ended."


def events(
    service: Service,
    download_id: str | None = None,
    *,
    limit: int = 200,
    last_event_id: str | None = None,
    silence: float = _SILENCE,
    give_up_after: float | None = None,
) -> Stream[Event]:
    """Yield a snapshot, then changes, for as long as they are read.

    A stream that breaks, ends or is silent is opened again with the id of the last event: nothing is
    missed, or another snapshot comes.

    Args:
        download_id: of the only one to watch; None for all that you see.
        limit: downloads of the snapshot, 500 at most.
        last_event_id: the `event_id` up to which you have all.
        silence: seconds without a byte after which the connection is dead.
        give_up_after: seconds without a byte after which the last error is raised; None: never. The
            first connection is made as any call.

    Raises:
        NotFoundError: there is no such download (any more).
        AuthenticationError: the key is not valid (any more).
    """
    watcher = _Watcher(service, partial(_request, download_id, limit, silence), last_event_id or "")
    patience = math.inf if give_up_after is None else give_up_after
    while True:
        yield from watcher.stream()
        yield Pause(watcher.pause(patience))


class _Watcher:
    """Reads one stream after the other, each from where the one before it has ended.

    Args:
        request: makes the request of a stream from the id of the last event.
        last_id: the id from which the first one goes on; "" for a snapshot.
    """

    def __init__(self, service: Service, request: Callable[[str], Request], last_id: str) -> None:
        self._service, self._make_request = service, request
        self._known, self._last_id = KnownDownloads(), last_id
        self._heard_at, self._failures = time.monotonic(), 0
        self._failure: NoAnswerError | ProblemError = NoAnswerError(_ENDED)
        self._is_first = True

    def stream(self) -> Stream[Event]:
        """Yield the events of one stream; what has ended it is for `pause`."""
        service, request = self._service, self._make_request(self._last_id)
        exchange = partial(opened, service, request)
        parser = EventParser(service.max_answer_bytes, self._last_id)
        self._failure = NoAnswerError(_ENDED)
        try:
            yield from repeated(service, request, exchange) if self._is_first else exchange()
            self._is_first = False
            while data := (yield from read()):
                self._heard_at, self._failures = time.monotonic(), 0
                for one in parser.feed(data):
                    event = self._known.applied(one, parser.last_id)
                    if event is not None:
                        yield Emit(event)
        except (NoAnswerError, ProblemError) as error:
            self._failure = error
        self._last_id = parser.last_id

    def pause(self, patience: float) -> float:
        """Return the seconds before the next stream; raise the last error if there is to be none."""
        pause = pause_after(self._failures, self._failure)
        is_over = time.monotonic() + pause - self._heard_at > patience
        is_repeatable = may_repeat(self._make_request(self._last_id), self._failure)
        if self._is_first or is_over or not is_repeatable:
            raise self._failure
        self._failures += 1
        return pause


def wait(service: Service, download_id: str, *, timeout: float | None = None) -> Flow[Download]:
    """Return a download when it has ended: completed, failed or cancelled. A paused one has not.

    To wait for several, wait for one after the other: those that have ended are returned at once.

    Args:
        download_id: of the download.
        timeout: seconds; None waits without end. A request that runs then may take a little longer.

    Raises:
        WaitTimeoutError: it has not ended in time.
        NotFoundError: there is no such download (any more).
    """
    end = time.monotonic() + (math.inf if timeout is None else timeout)
    number = 0
    while True:
        left = max(0.0, end - time.monotonic())
        shown = yield from show(
            replace(service, retry_for=min(service.retry_for, left)), download_id
        )
        if shown.has_ended:
            return shown
        if time.monotonic() >= end:
            raise WaitTimeoutError(shown)
        try:
            yield from _until_news_of_end(service, download_id, end)
        except (NoAnswerError, ProblemError) as error:
            pause = max(pause_after(number), pause_after(number, error))
        else:
            pause = pause_after(0)
        number += 1
        yield Pause(max(0.0, min(pause, end - time.monotonic())))


def _until_news_of_end(service: Service, download_id: str, end: float) -> Flow[None]:
    """Return when a stream says that a download has ended, or is over itself, or when the time is."""
    silence = max(0.1, min(_SILENCE, end - time.monotonic()))
    request = _request(download_id, None, silence, "")
    known, parser = KnownDownloads(), EventParser(service.max_answer_bytes)
    yield from opened(service, request)
    while time.monotonic() < end and (data := (yield from read())):
        for one in parser.feed(data):
            if _has_news_of_end(known.applied(one, parser.last_id)):
                return


def _has_news_of_end(event: Event | None) -> bool:
    if isinstance(event, Snapshot):
        return not event.downloads or any(one.has_ended for one in event.downloads)
    if isinstance(event, Changed):
        return bool(event.removed) or any(
            one.fields.get("status") in ENDED for one in event.changes
        )
    return False


def _request(
    download_id: str | None, limit: int | None, silence: float, last_event_id: str
) -> Request:
    return Request(
        "GET",
        "/v1/events" if download_id is None else path_of(download_id, "/events"),
        given(limit=limit) if download_id is None else (),
        headers={"Last-Event-ID": last_event_id} if last_event_id else {},
        is_repeatable=True,
        accept="text/event-stream",
        read_timeout=silence,
    )
