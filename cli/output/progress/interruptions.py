"""Signals that stop or end a command while its display has the terminal: Ctrl-Z and Ctrl-\\."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType

_Action = Callable[[], None]


class Interruptions:
    """Restores the terminal before the process stops, and draws again when it continues (`fg`).

    Signals that raise an exception need no handler here: the display is closed on the way out. A signal
    that is ignored stays ignored.

    Args:
        restore: gives the terminal back.
        draw: uses it again.
        when_idle: calls its argument when no write to the terminal is under way.
    """

    def __init__(self, restore: _Action, draw: _Action, when_idle: Callable[[_Action], None]):
        self._restore = restore
        self._draw = draw
        self._when_idle = when_idle
        self._handled: list[signal.Signals] = []
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (signal.SIGTSTP, signal.SIGQUIT):
            if signal.getsignal(number) is signal.SIG_DFL:
                self._handled.append(number)
                signal.signal(number, self._on_signal)

    def close(self) -> None:
        """Give the signals back."""
        for number in self._handled:
            signal.signal(number, signal.SIG_DFL)
        self._handled.clear()

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        self._when_idle(lambda: self._stop(number))

    def _stop(self, number: int) -> None:
        self._restore()
        signal.signal(number, signal.SIG_DFL)
        signal.pthread_kill(threading.get_ident(), number)
        # The process has stopped above, and continues here.
        signal.signal(number, self._on_signal)
        self._draw()
