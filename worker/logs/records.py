"""Log records: one line of visible characters each, without secrets, whatever text is in them.

Log lines hold text from outside: URLs, headers of origins, arguments of messages. A newline in it
would forge a line, and an escape sequence would act on the terminal that shows the log. Both are escaped
in the record itself, so that every format, every handler and every library that logs is covered. So are
secrets, which are masked.
"""

from __future__ import annotations

import logging

from domain.text import escaped
from worker.logs.masking import mask_secrets

#: Characters of one message, and of one line of a traceback.
MAX_MESSAGE, MAX_TRACE_LINE = 4_000, 1_000
#: Lines of one traceback; the last ones are kept, since they name the error.
MAX_TRACE = 200
#: Before each line of a traceback, so that none can be taken for a record.
TRACE_PREFIX = "  | "

_formatter = logging.Formatter()


class LogLine(logging.LogRecord):
    """A record whose message is one line of visible characters, and whose traceback is indented."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        if self.exc_info and self.exc_info[0] is not None:
            # Formatters print this instead of formatting the exception themselves.
            self.exc_text = _trace(_formatter.formatException(self.exc_info))

    def getMessage(self) -> str:  # noqa: N802 - logging's name
        """Return the message with its arguments, escaped and cut, without secrets."""
        return shown(self._formatted(), MAX_MESSAGE)

    def _formatted(self) -> str:
        """Return the message with its arguments, also where they do not fit, or have no text."""
        try:
            return super().getMessage()
        except Exception as error:
            return f"{self.msg!r:.200} cannot be formatted: {type(error).__name__}"


def install() -> None:
    """Use these records in this process. For programs only: a library must not do this."""
    logging.setLogRecordFactory(LogLine)


def shown(text: str, limit: int) -> str:
    """Return at most `limit` characters of a text as logs show it, and how many more it has."""
    # Twice as many are looked at: a secret that crosses the limit is masked as a whole.
    masked, rest = mask_secrets(text[: 2 * limit]), max(0, len(text) - 2 * limit)
    cut = max(0, len(masked) - limit) + rest
    visible = escaped(masked[:limit])
    return f"{visible}… ({cut:,} more characters)" if cut else visible


def _trace(text: str) -> str:
    lines = text.split("\n")
    cut = len(lines) - MAX_TRACE
    kept = [f"… ({cut:,} lines left out)", *lines[-MAX_TRACE:]] if cut > 0 else lines
    return "\n".join(f"{TRACE_PREFIX}{shown(line, MAX_TRACE_LINE)}" for line in kept)
