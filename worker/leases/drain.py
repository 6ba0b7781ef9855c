"""The flag that says that this process shuts down; its transfers and forked children read it."""

from __future__ import annotations

import mmap


class Drain:
    """One byte of shared memory: forked children of a pool see what their parent sets."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Unset it, and share nothing with the parent: a forked program drains by itself."""
        self._flag = mmap.mmap(-1, 1)

    def start(self) -> None:
        """Start to drain. A signal handler may call it: it takes no lock."""
        self._flag[0] = 1

    @property
    def has_started(self) -> bool:
        """Whether this process drains."""
        return self._flag[0] == 1
