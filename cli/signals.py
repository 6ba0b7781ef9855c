"""Signals that end a command."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from domain.errors import OutputError
from worker.process import stop_signals

#: SIGQUIT ends a command at once; its downloads run on.
_INTERRUPTING = (signal.SIGTERM, signal.SIGHUP)


class AnsweredInterrupt(KeyboardInterrupt):
    """An interrupt after which the command has said what goes on; nothing needs to be added."""


class SecondInterrupt(KeyboardInterrupt):
    """A signal while an earlier one is still delayed by `delay_interrupts`."""


def interrupt_on_termination() -> None:
    """Raise KeyboardInterrupt on SIGTERM and SIGHUP too, so that the command cleans up."""
    stop_signals.handle(signal.default_int_handler, _INTERRUPTING)


@contextmanager
def delay_interrupts(answer: Callable[[], None]) -> Iterator[None]:
    """Let a block end before an interrupt raises KeyboardInterrupt: its effects are known then.

    Args:
        answer: called at once at the first signal. A second one raises SecondInterrupt at once.
    """
    caught: list[int] = []

    def delay(number: int, _: FrameType | None) -> None:
        caught.append(number)
        if len(caught) > 1:
            raise SecondInterrupt
        with suppress(OutputError):  # the next output reports it; an exception here ended the block
            answer()

    delayed = [
        number
        for number in (signal.SIGINT, *_INTERRUPTING)
        if signal.getsignal(number) is signal.default_int_handler
    ]
    try:
        for number in delayed:
            signal.signal(number, delay)
        yield
    finally:
        for number in delayed:
            signal.signal(number, signal.default_int_handler)
    if caught:
        raise KeyboardInterrupt


def end_at_signals() -> None:
    """Let a signal end the process without an exception: the command is over."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.default_int_handler:
            signal.signal(number, signal.SIG_DFL)
