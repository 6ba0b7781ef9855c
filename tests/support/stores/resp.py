"""RESP, the protocol of Redis and Dragonfly, as far as a proxy between client and server needs it."""

from __future__ import annotations

from collections.abc import Iterator

import hiredis

Arguments = tuple[bytes, ...]

_WITH_BODY = b"$=!"
_WITH_ELEMENTS = b"*~>"
#: Maps have two elements an entry; attributes are followed by the reply they belong to.
_MAP, _ATTRIBUTE = ord("%"), ord("|")


class Requests:
    """Reads the commands that a client sends. Inline commands (not in RESP) are an error."""

    def __init__(self) -> None:
        self._reader = hiredis.Reader()

    def feed(self, data: bytes) -> Iterator[Arguments]:
        """Yield each command that is complete, as its arguments. Raises `hiredis.ProtocolError`."""
        self._reader.feed(data)
        while (request := self._reader.gets()) is not False:
            if not isinstance(request, list) or not all(isinstance(a, bytes) for a in request):
                raise hiredis.ProtocolError(f"not a command: {request!r}")
            yield tuple(request)


class Replies:
    """Cuts a server's output into replies, each kept byte for byte; RESP2 and RESP3."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._at = 0  # how far the reply at the start of the buffer has been read
        self._left = 1  # how many of its elements are still to come

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield each reply that is complete."""
        self._buffer += data
        while self._read_on():
            frame = bytes(self._buffer[: self._at])
            del self._buffer[: self._at]
            self._at, self._left = 0, 1
            yield frame

    def _read_on(self) -> bool:
        """Read as far as there is something; say whether the first reply is complete."""
        while self._left:
            line_end = self._buffer.find(b"\r\n", self._at)
            if line_end < 0:
                return False
            end, elements = self._element(line_end)
            if end > len(self._buffer):
                return False
            self._at, self._left = end, self._left - 1 + elements
        return True

    def _element(self, line_end: int) -> tuple[int, int]:
        """Return where the element at hand ends, and how many elements it announces."""
        kind, end = self._buffer[self._at], line_end + 2
        if kind in _WITH_BODY:
            size = int(self._buffer[self._at + 1 : line_end])
            return (end + size + 2 if size >= 0 else end), 0
        if kind in _WITH_ELEMENTS or kind in (_MAP, _ATTRIBUTE):
            count = max(0, int(self._buffer[self._at + 1 : line_end]))
            factor = 2 if kind in (_MAP, _ATTRIBUTE) else 1
            return end, factor * count + (kind == _ATTRIBUTE)
        return end, 0


def elements(frame: bytes) -> list[bytes]:
    """Return the elements of an array reply, each a reply of its own; none of anything else."""
    if not frame.startswith(b"*"):
        return []
    return list(Replies().feed(frame.partition(b"\r\n")[2]))


def command(*arguments: bytes) -> bytes:
    """Return a command as it goes to a server."""
    return bytes(hiredis.pack_command(arguments))  # type: ignore[arg-type]


def error(message: bytes) -> bytes:
    """Return an error reply; `message` begins with its code, such as ``ERR``."""
    return b"-%b\r\n" % message.removeprefix(b"-")


def bulk(text: bytes) -> bytes:
    """Return a string reply."""
    return b"$%d\r\n%b\r\n" % (len(text), text)


def array(frames: list[bytes]) -> bytes:
    """Return an array reply of replies."""
    return b"*%d\r\n%b" % (len(frames), b"".join(frames))


def body(frame: bytes) -> bytes | None:
    """Return the text of a string reply (RESP3's verbatim strings too), or None of anything else."""
    if frame[:1] not in (b"$", b"=") or frame.startswith(b"$-1"):
        return None
    text = frame.partition(b"\r\n")[2][:-2]
    return text[4:] if frame.startswith(b"=") else text


OK = b"+OK\r\n"
EMPTY = b"*0\r\n"
