"""The requests of one command: made when they are needed, since a list may have a million of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, overload

from cli.arguments.cookie_file import CookieFile
from cli.arguments.url_list import Entry

if TYPE_CHECKING:
    from domain.request import DownloadRequest


class RequestList(Sequence["DownloadRequest"]):
    """A request for each entry, in their order.

    Args:
        template: a valid request for the first entry; all others differ from it in what entries have.
        entries: checked ones, at least one.
        directory: of the command; those of entries are inside it.
        cookies: a file from which each request takes its own; None for those of the template.
    """

    def __init__(
        self,
        template: DownloadRequest,
        entries: Sequence[Entry],
        *,
        directory: str,
        cookies: CookieFile | None,
    ) -> None:
        self._template = template
        self._entries = entries
        self._directory = directory
        self._cookies = cookies

    @property
    def directories(self) -> set[str]:
        """The folders of all requests."""
        if len(self) == 1:
            return {self._template.directory}
        inner = {one.directory: one for one in self._entries if one.directory}
        found = {inside(self._directory, one) for one in inner.values()}
        return found | {self._template.directory}

    def __len__(self) -> int:
        return len(self._entries)

    @overload
    def __getitem__(self, index: int) -> DownloadRequest: ...
    @overload
    def __getitem__(self, index: slice) -> list[DownloadRequest]: ...
    def __getitem__(self, index: int | slice) -> DownloadRequest | list[DownloadRequest]:
        if isinstance(index, slice):
            return [self._request(one) for one in self._entries[index]]
        return self._request(self._entries[index])

    def _request(self, entry: Entry) -> DownloadRequest:
        if len(self._entries) == 1:
            return self._template
        changes: dict[str, object] = {"url": entry.url, "mirrors": entry.mirrors}
        if entry.name is not None:
            changes["name"] = entry.name
        if entry.checksum is not None:
            changes["checksum"] = entry.checksum
        if entry.directory:
            changes["directory"] = inside(self._directory, entry)
        if self._cookies is not None:
            changes["cookies"] = self._cookies.value_for(entry.url)
            changes["cookie_jar"] = self._cookies.jar_for(entry.url)
        return self._template.model_copy(update=changes)


def inside(directory: str, entry: Entry) -> str:
    """Return the folder of an entry, inside that of its command."""
    return f"{directory.rstrip('/')}/{entry.directory}" if directory else entry.directory
