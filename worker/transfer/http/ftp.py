"""What an FTP server says of a file before it sends it, put into HTTP's words."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import format_datetime, formatdate

from worker.transfer.http.response import Response

#: The replies to MDTM (RFC 3659, section 3) and to SIZE (section 4).
_MODIFIED = re.compile(r"213 ([12][0-9]{13})(\.[0-9]+)?")
_SIZE = re.compile(r"213 ([0-9]{1,18})")


class FtpReplies:
    """Collects a server's replies: libcurl asks for the date first, then for the size."""

    def __init__(self) -> None:
        self._modified: str | None = None
        self._size: int | None = None

    def feed(self, line: bytes) -> None:
        """Take in one line as libcurl hands it out."""
        text = line.decode("latin-1").strip()
        if self._modified is None and (match := _MODIFIED.fullmatch(text)):
            self._modified = match[1]
        elif match := _SIZE.fullmatch(text):
            self._size = int(match[1])

    def to_response(self, first: int | None) -> Response:
        """Return what an HTTP origin would have said to the same request, from byte `first` on."""
        headers: dict[str, str] = {}
        modified = self._modified and _date(self._modified)
        if modified:
            headers |= {"date": formatdate(usegmt=True), "last-modified": modified}
        if self._size is not None and first is None:
            headers["content-length"] = str(self._size)
        elif self._size is not None and first is not None:
            headers["content-range"] = f"bytes {first}-{self._size - 1}/{self._size}"
        return Response(200 if first is None else 206, headers)


def _date(text: str) -> str | None:
    try:
        moment = datetime.strptime(text, "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None
    return format_datetime(moment, usegmt=True)
