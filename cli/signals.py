"""Being asked to end."""

from __future__ import annotations

import signal


def interrupt_on_termination() -> None:
    """Have SIGTERM and a closed terminal end a command the way Ctrl-C does, with its tidying up."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
