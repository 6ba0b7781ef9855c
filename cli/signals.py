"""Signals that end a command."""

from __future__ import annotations

import signal

from worker.process import stop_signals

#: SIGQUIT ends a command at once; its downloads run on.
_INTERRUPTING = (signal.SIGTERM, signal.SIGHUP)


def interrupt_on_termination() -> None:
    """Raise KeyboardInterrupt on SIGTERM and SIGHUP too, so that the command cleans up."""
    stop_signals.handle(signal.default_int_handler, _INTERRUPTING)


def end_at_signals() -> None:
    """Let a signal end the process without an exception: the command is over."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.default_int_handler:
            signal.signal(number, signal.SIG_DFL)
