"""What an origin says before the body: status and headers of HTTP, or the replies of FTP."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime, formatdate, parsedate_to_datetime
from functools import lru_cache

#: 18 digits exceed every file system and fit into 64 bits.
_LENGTH = re.compile(r"[0-9]{1,18}")
_SPACE = " \t\r\n"
#: A Last-Modified date is a strong validator if the response is at least this many seconds younger.
STRONG_DATE_AGE = 60

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)", re.IGNORECASE)
_UNSATISFIED = re.compile(r"bytes \*/([0-9]{1,18})", re.IGNORECASE)
_STATUS = re.compile(r"[0-9]{3}")
#: ``Sun, 06 Nov 1994 08:49:37 GMT``
_DATE_LENGTH = 29

#: List fields: repeated ones are joined (RFC 9110, 5.3). Of any other field the last one counts.
_LISTS = frozenset(
    {
        *("content-encoding", "www-authenticate", "proxy-authenticate", "warning"),
        *("repr-digest", "content-digest", "digest", "x-goog-hash"),
    }
)

#: FTP's replies to MDTM (RFC 3659, section 3) and to SIZE (section 4).
_FTP_MODIFIED = re.compile(r"213 ([12][0-9]{13})(\.[0-9]+)?")
_FTP_SIZE = re.compile(r"213 ([0-9]{1,18})")


@dataclass(slots=True)
class Response:
    """Status and headers of one response; header names are in lower case."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    is_complete: bool = True
    """Whether the header section is complete; only one read by `feed` can be incomplete."""
    has_content: bool = True
    """False when the response ended without a byte of content."""

    def feed(self, line: bytes) -> None:
        """Read one header line as libcurl passes it."""
        # Not str.strip() without arguments: 0x85 and 0xA0 are spaces to it, and end many UTF-8 letters.
        text = line.decode("latin-1").strip(_SPACE)
        if text.startswith("HTTP/"):
            # A new response starts, after a 1xx one.
            self.status = _status(text)
            self.headers.clear()
            self.is_complete = False
            return
        if not text:
            self.is_complete = True
        name, colon, value = text.partition(":")
        if colon:
            self._add(name.strip(_SPACE).lower(), value.strip(_SPACE))

    def _add(self, name: str, value: str) -> None:
        if name in _LISTS and name in self.headers:
            value = f"{self.headers[name]}, {value}"
        self.headers[name] = value

    @property
    def is_encoded(self) -> bool:
        """Whether the body has a Content-Encoding other than identity."""
        codings = self.headers.get("content-encoding", "").lower().split(",")
        return any(coding.strip() not in {"", "identity"} for coding in codings)

    @property
    def content_length(self) -> int | None:
        """Length of this body in bytes, or None when no valid one is given."""
        if "transfer-encoding" in self.headers:
            return None
        # The same number twice is one number (RFC 9110, 8.6).
        numbers = {part.strip() for part in self.headers.get("content-length", "").split(",")}
        text = numbers.pop() if len(numbers) == 1 else ""
        return int(text) if _LENGTH.fullmatch(text) else None

    @property
    def has_invalid_length(self) -> bool:
        """Whether there is a Content-Length that applies and is no number: libcurl ignores it."""
        applies = "content-length" in self.headers and "transfer-encoding" not in self.headers
        return applies and self.content_length is None

    @property
    def content_range(self) -> tuple[int, int, int | None] | None:
        """(first byte, last byte, total or None) of a 206, or None when there is no valid one."""
        match = _CONTENT_RANGE.fullmatch(self.headers.get("content-range", ""))
        if match is None:
            return None
        first, last = int(match[1]), int(match[2])
        total = None if match[3] == "*" else int(match[3])
        if last < first or (total is not None and last >= total):
            return None
        return first, last, total

    @property
    def unsatisfied_size(self) -> int | None:
        """The file's size from the Content-Range of a 416 (``bytes */1234``), or None."""
        match = _UNSATISFIED.fullmatch(self.headers.get("content-range", ""))
        return int(match[1]) if match else None

    @property
    def is_multipart_range(self) -> bool:
        """Whether the body is multipart/byteranges."""
        return self.headers.get("content-type", "").lower().startswith("multipart/byteranges")

    @property
    def resource_size(self) -> int | None:
        """Size of the whole file in bytes, or None when the response does not give it."""
        if self.status != 206:
            return self.content_length
        span = self.content_range
        return None if span is None else span[2]

    @property
    def body_end(self) -> int | None:
        """Offset in the file (exclusive) at which a body that starts at byte 0 must end, or None."""
        span = self.content_range if self.status == 206 else None
        return self.content_length if span is None else span[1] + 1

    @property
    def validator(self) -> str | None:
        """The value for If-Range, or None when the response has no strong validator.

        That is a strong entity tag; without any tag it is a Last-Modified date old enough to be strong
        (RFC 9110, 8.8.2.2): a file changed twice within one second keeps its date.
        """
        if "etag" in self.headers:
            tag = self.etag
            return tag if tag is not None and tag.isascii() else None
        return self.date

    @property
    def etag(self) -> str | None:
        """The strong entity tag, or None; a weak one does not identify bytes (RFC 9110, 8.8.1)."""
        tag = self.headers.get("etag")
        return tag if tag and not tag.startswith(("W/", "w/")) else None

    @property
    def date(self) -> str | None:
        """The Last-Modified date if it is a strong validator, else None."""
        return self.last_modified if self._date_is_strong() else None

    @property
    def last_modified(self) -> str | None:
        """The Last-Modified date as sent."""
        return self.headers.get("last-modified")

    def _date_is_strong(self) -> bool:
        try:
            changed, sent = _moment(self.headers["last-modified"]), _moment(self.headers["date"])
            return (sent - changed).total_seconds() >= STRONG_DATE_AGE
        except (KeyError, ValueError, TypeError, OverflowError):
            return False


def _moment(date: str) -> datetime:
    """Parse a date. Those of the usual length are remembered: many responses share them."""
    return _parsed_date(date) if len(date) == _DATE_LENGTH else parsedate_to_datetime(date)


@lru_cache(256)
def _parsed_date(date: str) -> datetime:
    return parsedate_to_datetime(date)


def _status(line: str) -> int:
    parts = line.split(maxsplit=2)
    return int(parts[1]) if len(parts) > 1 and _STATUS.fullmatch(parts[1]) else 0


class FtpReplies:
    """Reads an FTP server's replies: libcurl requests the date first, then the size."""

    def __init__(self) -> None:
        self._modified: str | None = None
        self._size: int | None = None

    def feed(self, line: bytes) -> None:
        """Read one line as libcurl passes it."""
        text = line.decode("latin-1").strip()
        if self._modified is None and (match := _FTP_MODIFIED.fullmatch(text)):
            self._modified = match[1]
        elif match := _FTP_SIZE.fullmatch(text):
            self._size = int(match[1])

    def to_response(self, first: int | None) -> Response:
        """Return the HTTP response that corresponds to a transfer from byte `first` on."""
        headers: dict[str, str] = {}
        modified = self._modified and _http_date(self._modified)
        if modified:
            headers |= {"date": formatdate(usegmt=True), "last-modified": modified}
        if self._size is not None and first is None:
            headers["content-length"] = str(self._size)
        elif self._size is not None and first is not None:
            headers["content-range"] = f"bytes {first}-{self._size - 1}/{self._size}"
        return Response(200 if first is None else 206, headers)


def _http_date(text: str) -> str | None:
    try:
        moment = datetime.strptime(text, "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None
    return format_datetime(moment, usegmt=True)
