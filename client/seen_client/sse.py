"""Server-sent events, from bytes (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from seen_client.errors import UnexpectedAnswerError

_LINE_END = re.compile(rb"\r\n|\n|\r(?!\Z)")
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One event of a stream."""

    kind: str
    data: str


class EventParser:
    """Turns the bytes of one stream into events.

    Args:
        limit: bytes of one event.
        last_id: the id of the last event of the stream before this one.

    Attributes:
        last_id: of the newest event; what Last-Event-ID sends.
    """

    def __init__(self, limit: int, last_id: str = "") -> None:
        self.last_id = last_id
        self._limit = limit
        self._rest = bytearray()
        self._searched = 0
        self._is_first = True
        self._kind, self._id = "", last_id
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> Iterator[ServerEvent]:
        """Yield the events that are complete with these bytes.

        Raises:
            UnexpectedAnswerError: an event is too large, or not UTF-8.
        """
        self._rest += chunk
        begin = 0
        for found in _LINE_END.finditer(self._rest, self._searched):
            yield from self._line(bytes(self._rest[begin : found.start()]))
            begin = found.end()
        del self._rest[:begin]
        # A CR at the end may be half of a line's end, so it is looked at again.
        self._searched = max(0, len(self._rest) - 1)
        if self._size + len(self._rest) > self._limit:
            raise UnexpectedAnswerError(f"An event has more than {self._limit:,} bytes.")

    def _line(self, line: bytes) -> Iterator[ServerEvent]:
        if self._is_first:
            line, self._is_first = line.removeprefix(_BOM), False
        if not line:
            yield from self._end()
            return
        self._size += len(line)
        if self._size > self._limit:
            raise UnexpectedAnswerError(f"An event has more than {self._limit:,} bytes.")
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
        elif name == b"event":
            self._kind = _text(value)
        elif name == b"id" and re.fullmatch(rb"[\x20-\x7e]{0,100}", value):
            self._id = _text(value)  # a longer one, or another, could not be sent back

    def _end(self) -> Iterator[ServerEvent]:
        kind, data = self._kind, self._data
        self._kind, self._data, self._size = "", [], 0
        self.last_id = self._id
        if data:
            yield ServerEvent(kind or "message", _text(b"\n".join(data)))


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise UnexpectedAnswerError("The stream of events is not UTF-8.") from None
