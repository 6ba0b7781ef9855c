"""The signals that stop a process, and one rule for all programs: an ignored signal stays ignored.

`nohup` starts a program with SIGHUP ignored, a script's `program &` with SIGINT and SIGQUIT: so the
program is to run on when the terminal is closed, or when Ctrl-C ends another one. Programs inherit this
from their parents, so it holds for all processes of a stack.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable
from types import FrameType

#: A service stops cleanly at each of them: SIGTERM comes from service managers, SIGINT and SIGQUIT from
#: the keyboard, SIGHUP from a terminal that is closed.
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)

#: Read at the import, before a library installs its handlers.
_ignored_at_start = frozenset(
    number for number in signal.valid_signals() if signal.getsignal(number) is signal.SIG_IGN
)


def is_ignored(number: int) -> bool:
    """Return whether a signal was ignored when this process started."""
    return number in _ignored_at_start


def handle(
    handler: Callable[[int, FrameType | None], object],
    numbers: Iterable[signal.Signals] = STOP_SIGNALS,
) -> None:
    """Install a handler for signals, except for those that were ignored when the process started."""
    for number in numbers:
        signal.signal(number, signal.SIG_IGN if is_ignored(number) else handler)


def forget_handlers(*, terminable: bool) -> None:
    """Restore, in a forked child, what a started program finds: no handlers of its parent.

    Args:
        terminable: SIGTERM stops this process also where it was ignored before.
    """
    global _ignored_at_start
    if terminable:
        _ignored_at_start -= {signal.SIGTERM}
    for number in STOP_SIGNALS:
        if not is_ignored(number):
            is_interrupt = number == signal.SIGINT
            signal.signal(number, signal.default_int_handler if is_interrupt else signal.SIG_DFL)
