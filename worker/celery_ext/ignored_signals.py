"""Keeps Celery and Flower from handling signals that were ignored when the process started."""

from __future__ import annotations

import signal
from typing import Any

from celery import platforms

from worker.process import stop_signals


class _Signals(platforms.Signals):
    """What Celery's programs install their handlers with: one for an ignored signal has no effect."""

    def __setitem__(self, name: Any, handler: Any) -> None:
        if not (self.supported(name) and stop_signals.is_ignored(self.signum(name))):
            super().__setitem__(name, handler)


def install() -> None:
    """Apply to Celery's worker, beat and the children of a pool."""
    platforms.signals = _Signals()


def leave_stop_to_parent(**_: Any) -> None:
    """Ignore, in a child of a pool, what a terminal sends to all processes: the parent drains."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def install_in_flower() -> None:
    """Apply to Flower, and let it end cleanly at every signal to stop; called by its config file."""
    from flower import command

    stop_signals.handle(command.sigterm_handler)
    # Flower installs this one for SIGTERM later.
    if stop_signals.is_ignored(signal.SIGTERM):
        command.sigterm_handler = signal.SIG_IGN
