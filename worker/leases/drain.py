"""The word that this process shuts down, seen by every running transfer."""

from __future__ import annotations

import mmap


class Drain:
    """One byte of shared memory, so that a pool's forked children see what their parent sets."""

    def __init__(self) -> None:
        self._flag = mmap.mmap(-1, 1)

    def start(self) -> None:
        """Begin to drain. May be called from a signal handler: it takes no lock."""
        self._flag[0] = 1

    @property
    def has_started(self) -> bool:
        """Whether this process shuts down."""
        return self._flag[0] == 1
