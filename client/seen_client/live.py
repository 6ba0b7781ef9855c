"""Live changes: what events bring, and downloads put together from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import TypeAlias

from seen_client.decoding import decoded, json_of
from seen_client.models import Download, Status
from seen_client.sse import ServerEvent


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The downloads as they are: the running and the newest ones, or the one that is watched."""

    event_id: str
    downloads: tuple[Download, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """What has changed of one download.

    Attributes:
        id: of the download.
        fields: the new values, as JSON.
        download: as it is now; None if the service has sent no more of it than these fields.
    """

    id: str
    fields: Mapping[str, object]
    download: Download | None


@dataclass(frozen=True, slots=True)
class Changed:
    """Changes since the event before."""

    event_id: str
    changes: tuple[Change, ...]
    removed: tuple[str, ...]
    """Ids of downloads whose records were removed."""


Event: TypeAlias = Snapshot | Changed

_WHOLE = frozenset(one.name for one in fields(Download) if one.default is MISSING)
#: In these states, and in those of a newer service, only differences are sent.
_ENTIRE = frozenset(set(Status) - {Status.DOWNLOADING, Status.VERIFYING})


@dataclass(frozen=True, slots=True)
class _Content:
    downloads: tuple[Mapping[str, object], ...] = ()
    removed: tuple[str, ...] = ()


class KnownDownloads:
    """The downloads of one stream, as far as differences may still come for them."""

    def __init__(self) -> None:
        self._known: dict[str, Mapping[str, object]] = {}

    def applied(self, event: ServerEvent, event_id: str) -> Event | None:
        """Return what an event says; None for one of a kind that is not known.

        Raises:
            UnexpectedAnswerError: its data is not as documented.
        """
        if event.kind not in {"snapshot", "changed"}:
            return None
        content = decoded(_Content, json_of(event.data), "the event")
        if event.kind == "changed":
            changes = tuple(self._change(one) for one in content.downloads)
            for removed in content.removed:
                self._known.pop(removed, None)
            return Changed(event_id, changes, content.removed)
        downloads = tuple(decoded(Download, one, "a download") for one in content.downloads)
        self._known = {one.id: raw for one, raw in zip(downloads, content.downloads, strict=True)}
        return Snapshot(event_id, downloads)

    def _change(self, patch: Mapping[str, object]) -> Change:
        download_id = decoded(_Identified, patch, "a change").id
        whole = {**self._known.pop(download_id, {}), **patch}
        if not whole.keys() >= _WHOLE:
            return Change(download_id, patch, None)
        download = decoded(Download, whole, "a download")
        if download.status not in _ENTIRE:
            self._known[download_id] = whole
        return Change(download_id, patch, download)


@dataclass(frozen=True, slots=True)
class _Identified:
    id: str
