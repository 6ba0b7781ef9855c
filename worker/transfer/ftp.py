"""What an FTP server's replies tell of a file, put into HTTP's words."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import format_datetime, formatdate

from worker.transfer.origin import Answer

#: The reply to MDTM, in UTC (RFC 3659, section 3).
_MODIFIED = re.compile(rb"213 ([0-9]{14})(?:\.[0-9]+)?\s*")
#: The reply to SIZE.
_SIZE = re.compile(rb"213 ([0-9]{1,18})\s*")


class FtpReplies:
    """The size and the date of one file, from what the server says before it sends the file.

    libcurl knows both, too, but may not be asked while it is at work.
    """

    def __init__(self) -> None:
        self._size: int | None = None
        self._modified: datetime | None = None

    def feed(self, line: bytes) -> None:
        """Take in one line of the control connection. MDTM is asked first, SIZE second."""
        if self._modified is None and (match := _MODIFIED.fullmatch(line)):
            self._modified = _moment(match[1].decode())
            if self._modified is not None:
                return
        if match := _SIZE.fullmatch(line):
            self._size = int(match[1])

    def answer(self, first: int | None) -> Answer:
        """Return what an HTTP server would have answered to a request from byte `first` on."""
        answer = Answer(status=200 if first is None else 206)
        headers, size = answer.headers, self._size
        if self._modified is not None:
            headers["date"] = formatdate(usegmt=True)
            headers["last-modified"] = format_datetime(self._modified, usegmt=True)
        if size is not None and first is None:
            headers["content-length"] = str(size)
        elif size is not None and first is not None and first < size:
            headers["content-range"] = f"bytes {first}-{size - 1}/{size}"
        return answer


def _moment(digits: str) -> datetime | None:
    try:
        return datetime.strptime(digits, "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None
