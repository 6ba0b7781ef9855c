"""Read downloads: one, its history, lists, totals."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from seen_client.errors import UnexpectedAnswerError
from seen_client.models import (
    Download,
    DownloadPage,
    History,
    HistoryEvent,
    Priority,
    Status,
    Totals,
)
from seen_client.operations.asking import get, given
from seen_client.service import Service, path_of
from seen_client.steps import Emit, Flow, Stream


def show(service: Service, download_id: str) -> Flow[Download]:
    """Return a download with its newest progress.

    Raises:
        NotFoundError: there is none with this id, or it is another user's.
    """
    return (yield from get(service, path_of(download_id), Download))


def history(service: Service, download_id: str) -> Flow[tuple[HistoryEvent, ...]]:
    """Return the history of a download, the oldest event first."""
    found = yield from get(service, path_of(download_id, "/history"), History)
    return found.events


def totals(service: Service) -> Flow[Totals]:
    """Return how many downloads there are in each state, and the present rate."""
    return (yield from get(service, "/v1/totals", Totals))


def list_downloads(
    service: Service,
    *,
    state: Status | str | Collection[Status | str] = (),
    user_id: str | None = None,
    host: str | None = None,
    priority: Priority | str | None = None,
    search: str | None = None,
    sort: Literal["newest", "oldest", "ended", "speed", "size", "name", "priority"] = "newest",
    page_size: int = 100,
) -> Stream[Download]:
    """Yield downloads page by page; none comes twice, whatever is submitted meanwhile.

    Args:
        state: one or several.
        user_id: of the owner.
        host: of the origin.
        priority: the queue.
        search: text in the URL, or in the name of the file.
        sort: by the time of submission; `ended`: finished ones, the last end first; `speed`: running
            ones, the fastest first; `size`, `name`, `priority`: of lists that are not too long.
        page_size: downloads of one request, 500 at most.
    """
    states = (state,) if isinstance(state, str) else tuple(state)
    wanted = given(
        state=states,
        user_id=user_id,
        host=host,
        priority=priority,
        search=search,
        sort=sort,
        limit=page_size,
    )
    yield from _listed(service, wanted)


def _listed(service: Service, wanted: tuple[tuple[str, str], ...]) -> Stream[Download]:
    cursor: str | None = None
    while True:
        page = yield from get(
            service, "/v1/downloads", DownloadPage, (*wanted, *given(cursor=cursor))
        )
        for one in page.downloads:
            yield Emit(one)
        if page.next_cursor is None:
            return
        if page.next_cursor == cursor:
            raise UnexpectedAnswerError("The list does not go on: its cursor is the former one.")
        cursor = page.next_cursor
