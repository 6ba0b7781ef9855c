"""Change downloads, one or many, and limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Literal

from seen_client.models import ActionResult, Download, Limits, Priority, Selection
from seen_client.operations.asking import change, end, get, given
from seen_client.service import Service, path_of
from seen_client.steps import Flow

#: Twice is as good as once. A repeated retry could queue a download again that has failed in between.
_REPEATABLE = frozenset({"pause", "resume", "cancel", "move"})


class Unchanged(Enum):
    """The type of `UNCHANGED`."""

    UNCHANGED = "unchanged"


UNCHANGED = Unchanged.UNCHANGED


def pause(service: Service, download_id: str) -> Flow[Download]:
    """Stop a download until it is resumed; its part file is kept.

    Raises:
        ConflictError: its state does not allow this.
    """
    return (yield from _act(service, download_id, "pause"))


def resume(service: Service, download_id: str) -> Flow[Download]:
    """Queue a paused download again, and a waiting one at once; raises as `pause`."""
    return (yield from _act(service, download_id, "resume"))


def cancel(service: Service, download_id: str) -> Flow[Download]:
    """Stop a download for good; its part file is removed. Raises as `pause`."""
    return (yield from _act(service, download_id, "cancel"))


def retry(service: Service, download_id: str) -> Flow[Download]:
    """Queue a failed or cancelled download again, with all attempts; raises as `pause`."""
    return (yield from _act(service, download_id, "retry"))


def _act(service: Service, download_id: str, action: str) -> Flow[Download]:
    path, is_repeatable = path_of(download_id, f"/{action}"), action in _REPEATABLE
    return (yield from change(service, "POST", path, Download, is_repeatable=is_repeatable))


def set_priority(service: Service, download_id: str, priority: Priority | str) -> Flow[Download]:
    """Give a download another priority: a queued one moves to its queue."""
    body = {"priority": priority}
    return (yield from change(service, "PATCH", path_of(download_id), Download, body))


def delete(service: Service, download_id: str, *, with_file: bool = False) -> Flow[None]:
    """Remove the record of a finished download, and its history; if asked for, its file, too."""
    parameters = given(with_file="true" if with_file else None)
    yield from end(service, "DELETE", path_of(download_id), parameters)


def change_many(
    service: Service,
    action: Literal["pause", "resume", "cancel", "retry", "move", "delete"],
    *,
    ids: Sequence[str] | None = None,
    where: Selection | None = None,
    priority: Priority | str | None = None,
    with_files: bool = False,
) -> Flow[ActionResult]:
    """Do one action on many downloads. Those whose state does not allow it are `refused`.

    Args:
        action: `move` gives another priority.
        ids: up to 1,000; or
        where: all that you may change and that have this.
        priority: for `move`.
        with_files: for `delete` by ids: remove the files, too.

    Raises:
        NotFoundError: one of the ids is unknown; nothing is changed then.
    """
    optional = {"ids": ids, "filter": where, "priority": priority}
    body = {
        "action": action,
        **{name: one for name, one in optional.items() if one is not None},
        **({"with_files": True} if with_files else {}),
    }
    path, is_repeatable = "/v1/downloads/actions", action in _REPEATABLE
    return (
        yield from change(service, "POST", path, ActionResult, body, is_repeatable=is_repeatable)
    )


def limits(service: Service) -> Flow[Limits]:
    """Return the limits in bytes a second, and what is used of them."""
    return (yield from get(service, "/v1/limits", Limits))


def change_limits(
    service: Service,
    *,
    total: int | Unchanged | None = UNCHANGED,
    concurrent_downloads: int | Unchanged | None = UNCHANGED,
    hosts: Mapping[str, int | None] | None = None,
    jobs: Mapping[str, int | None] | None = None,
) -> Flow[Limits]:
    """Set or remove limits, of rates in bytes a second; what is not named stays as it is.

    Args:
        total: of all downloads together; None removes it. Only for admins.
        concurrent_downloads: how many may run at once in all workers; None removes it. Only for admins.
        hosts: by host; None removes one. Only for admins.
        jobs: by the id of a download; None removes one.
    """
    body = {
        **({} if total is UNCHANGED else {"total": total}),
        **(
            {}
            if concurrent_downloads is UNCHANGED
            else {"concurrent_downloads": concurrent_downloads}
        ),
        **({"hosts": hosts} if hosts else {}),
        **({"jobs": jobs} if jobs else {}),
    }
    return (yield from change(service, "PATCH", "/v1/limits", Limits, body))
