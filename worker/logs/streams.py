"""Standard output and standard error of a program whose log is JSON: each line is a record."""

from __future__ import annotations

import io
import logging
import threading

#: Characters of a line at most; a longer one becomes several records.
_LONGEST = 16_000


class LinesAsRecords(io.TextIOBase):
    """A text stream that logs what is written to it.

    What programs print is for people: Celery's banner, an error before the log is set up, a traceback
    of the interpreter.

    Args:
        name: of the logger.
        level: of the records.
    """

    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(self, name: str, level: int) -> None:
        self._logger, self._level = logging.getLogger(name), level
        self._mutex = threading.Lock()
        self._pending = ""
        self._is_logging = threading.local()

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, text: str, /) -> int:
        """Log the lines that this text completes."""
        with self._mutex:
            *lines, self._pending = (self._pending + text).split("\n")
            if len(self._pending) > _LONGEST:
                lines, self._pending = [*lines, self._pending], ""
        for line in lines:
            self._log(line)
        return len(text)

    def flush(self) -> None:
        """Do nothing: the rest of a line may follow."""

    def _log(self, line: str) -> None:
        if not line.strip() or getattr(self._is_logging, "now", False):
            return  # a handler that fails may report that here, and must not cause another record
        self._is_logging.now = True
        try:
            self._logger.log(self._level, "%s", line, extra={"event": "output"})
        finally:
            self._is_logging.now = False
