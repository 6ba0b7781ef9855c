"""Signals that end a command."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from domain.errors import OutputError
from worker.process import stop_signals

#: SIGQUIT ends a command at once; its downloads run on.
_INTERRUPTING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: `timeout` and process managers signal a process, and at once its group with it. A person who presses
#: Ctrl-C twice is slower. Seconds.
_REPETITION = 0.05
_interrupted_at = float("-inf")


class AnsweredInterrupt(KeyboardInterrupt):
    """An interrupt after which the command has said what goes on; nothing needs to be added."""


class SecondInterrupt(KeyboardInterrupt):
    """A signal while an earlier one is still delayed by `delay_interrupts`."""


def interrupt_on_termination() -> None:
    """Raise KeyboardInterrupt on SIGTERM and SIGHUP too, so that the command cleans up.

    A signal that repeats another one at once has no effect.
    """
    stop_signals.handle(_interrupt, _INTERRUPTING)


def _interrupt(_number: int, _: FrameType | None) -> None:
    if not _is_repetition():
        raise KeyboardInterrupt


def _is_repetition() -> bool:
    global _interrupted_at
    before, _interrupted_at = _interrupted_at, time.monotonic()
    return _interrupted_at - before < _REPETITION


@contextmanager
def delay_interrupts(answer: Callable[[], None]) -> Iterator[None]:
    """Let a block end before an interrupt raises KeyboardInterrupt: its effects are known then.

    Args:
        answer: called at once at the first signal. A second one raises SecondInterrupt at once.
    """
    caught: list[int] = []

    def delay(number: int, _: FrameType | None) -> None:
        if _is_repetition():
            return
        caught.append(number)
        if len(caught) > 1:
            raise SecondInterrupt
        with suppress(OutputError):  # the next output reports it; an exception here ended the block
            answer()

    delayed = [one for one in _INTERRUPTING if signal.getsignal(one) is _interrupt]
    try:
        for number in delayed:
            signal.signal(number, delay)
        yield
    finally:
        for number in delayed:
            signal.signal(number, _interrupt)
    if caught:
        raise KeyboardInterrupt


def end_at_signals() -> None:
    """Let a signal end the process without an exception: the command is over."""
    for number in _INTERRUPTING:
        if signal.getsignal(number) in {signal.default_int_handler, _interrupt}:
            signal.signal(number, signal.SIG_DFL)
