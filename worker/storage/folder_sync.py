"""fsync of folders: threads that want the same folder synced at about the same time share one call."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from worker.storage.disk_errors import sync_folder


@dataclass(slots=True)
class _Folder:
    """How often the fsync of a folder has started and ended, and how many threads need it."""

    started: int = 0
    ended: int = 0
    is_running: bool = False
    threads: int = 0


class FolderSync:
    """Makes the names in folders durable.

    An fsync that started before a name was given does not cover it. So a thread waits for one that
    starts after its call; of all threads that wait, one makes the call.

    Args:
        sync: makes the call, for the folder's descriptor and its path; it raises nothing.
    """

    def __init__(self, sync: Callable[[int, Path], None] = sync_folder) -> None:
        self._sync = sync
        self._changed = threading.Condition()
        self._folders: dict[tuple[int, int], _Folder] = {}

    def __call__(self, fd: int, path: Path) -> None:
        """Return when all names that the folder has by now are durable; errors are logged."""
        status = os.fstat(fd)
        key = status.st_dev, status.st_ino
        with self._changed:
            folder = self._folders.setdefault(key, _Folder())
            folder.threads += 1
            try:
                needed = folder.started + 1
                while folder.ended < needed:
                    if folder.is_running:
                        self._changed.wait()
                    else:
                        self._run(folder, fd, path)
            finally:
                folder.threads -= 1
                if not folder.threads:
                    del self._folders[key]

    def _run(self, folder: _Folder, fd: int, path: Path) -> None:
        """Make the call, without the mutex."""
        folder.is_running = True
        folder.started += 1
        self._changed.release()
        try:
            self._sync(fd, path)
        finally:
            self._changed.acquire()
            folder.is_running = False
            folder.ended = folder.started
            self._changed.notify_all()
