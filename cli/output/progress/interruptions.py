"""Signals that stop or end a command while its display has the terminal: Ctrl-Z, `fg` and Ctrl-\\."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType

_Handler = Callable[[int, FrameType | None], None] | int | None


class Interruptions:
    """Restores the terminal before the process stops, and draws again when it continues.

    Signals that raise an exception need no handler here: the display is closed on the way out. A signal
    that is ignored stays ignored.
    """

    def __init__(self, restore: Callable[[], None], draw: Callable[[], None]) -> None:
        self._restore = restore
        self._draw = draw
        self._before: dict[int, _Handler] = {}
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (signal.SIGTSTP, signal.SIGQUIT):
            before = signal.getsignal(number)
            if before is signal.SIG_DFL:
                self._before[number] = before
                signal.signal(number, self._stop)
        if signal.SIGTSTP in self._before:
            self._before[signal.SIGCONT] = signal.getsignal(signal.SIGCONT)
            signal.signal(signal.SIGCONT, self._continue)

    def close(self) -> None:
        """Give the signals back."""
        for number, before in self._before.items():
            signal.signal(number, before)
        self._before.clear()

    def _stop(self, number: int, _: FrameType | None) -> None:
        self._restore()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        # The process has stopped above, and continues here.
        signal.signal(number, self._stop)

    def _continue(self, *_: object) -> None:
        self._draw()
