"""Keys of the terminal on standard input, one by one and without Enter."""

from __future__ import annotations

import codecs
import os
import re
import select
import termios
import time
import tty
from collections.abc import Iterator
from contextlib import suppress
from types import TracebackType
from typing import IO, Any, Self

from cli.output.messages import is_in_foreground
from cli.output.terminal import is_terminal

#: Bytes that are read at once; what a paste has more comes with the next read.
_MOST = 4096
#: So long after an escape character the rest of its sequence may come. Seconds.
_REST_OF_SEQUENCE = 0.05
#: Sequences that terminals send for keys (ECMA-48 CSI and SS3); others are dropped.
_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|O[ -~])")
_NAMES = {
    "\x1b[A": "up",
    "\x1bOA": "up",
    "\x1b[B": "down",
    "\x1bOB": "down",
    "\x1b": "escape",
    "\r": "enter",
    "\n": "enter",
    "\x7f": "backspace",
    "\x08": "backspace",
}


class Keyboard:
    """Takes keys while this command has the terminal; close it, or use it in a `with` statement.

    Signals stay as they are: Ctrl-C interrupts, Ctrl-Z stops.

    Args:
        stream: a terminal; of another one no key comes. None for a closed one.

    Attributes:
        exists: whether keys may come.
    """

    def __init__(self, stream: IO[str] | None) -> None:
        self.exists = stream is not None and is_terminal(stream)
        self._stream = stream
        self._before: list[Any] | None = None
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def keys(self, seconds: float) -> Iterator[str]:
        """Yield the keys that are pressed first within so many seconds, or none after that time.

        A visible character is itself; others are ``up``, ``down``, ``enter``, ``escape`` and
        ``backspace``. Keys without a name here are dropped.
        """
        if not self._take():
            time.sleep(seconds)
            return
        text = self._read(seconds)
        if text.endswith("\x1b"):
            text += self._read(_REST_OF_SEQUENCE)
        yield from _split(text)

    def restore(self) -> None:
        """Give the terminal back; `keys` takes it again."""
        before, self._before = self._before, None
        if before is not None and self._is_usable():
            with suppress(termios.error):
                termios.tcsetattr(self._fd, termios.TCSANOW, before)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.restore()

    def _take(self) -> bool:
        """Let keys come without Enter and without being shown; return whether they can be read."""
        if self._is_usable() and self._before is None:
            try:
                self._before = termios.tcgetattr(self._fd)
                tty.setcbreak(self._fd, termios.TCSANOW)
            except termios.error:
                self.exists = False
        return self._is_usable()

    def _is_usable(self) -> bool:
        """Return False in the background: to touch the terminal of another program stops this one."""
        return self.exists and self._stream is not None and is_in_foreground(self._stream)

    def _read(self, seconds: float) -> str:
        if not select.select([self._fd], [], [], seconds)[0]:
            return ""
        try:
            data = os.read(self._fd, _MOST)
        except OSError:
            data = b""
        self.exists = bool(data)  # else the window is closed
        return self._decoder.decode(data)

    @property
    def _fd(self) -> int:
        assert self._stream is not None
        return self._stream.fileno()


def _split(text: str) -> Iterator[str]:
    while text:
        sequence = _SEQUENCE.match(text)
        key = sequence.group() if sequence else text[0]
        text = text[len(key) :]
        name = _NAMES.get(key, key)
        if name.isprintable():
            yield name
