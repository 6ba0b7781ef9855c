"""The folders of open part files: those of one folder share its descriptor and its fsyncs."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from seen_local.own_files import open_folder
from worker.storage.disk_errors import sync_folder
from worker.storage.folder_check import trusted_uids

#: What a folder is known by: its file system's number, and its own there.
_Key = tuple[int, int]


@dataclass(slots=True)
class _OpenFolder:
    path: Path
    key: _Key
    users: int = 1
    uids: frozenset[int] | None = None


class OpenFolders:
    """Opens folders, each once for all that use it at the same time."""

    def __init__(self) -> None:
        self._sync = FolderSync()
        self._mutex = threading.Lock()
        self._open: dict[int, _OpenFolder] = {}
        self._newest: dict[str, int] = {}

    def open(self, directory: Path) -> int:
        """Return a descriptor of a folder, which is created if it is missing. Close it with `close`.

        Args:
            directory: as for `open_folder`, which also says what is raised.
        """
        shared = self._share(directory)
        if shared is not None:
            return shared
        fd = open_folder(directory)
        try:
            folder = _OpenFolder(directory, _key(os.fstat(fd)))
        except BaseException:
            os.close(fd)
            raise
        with self._mutex:
            self._open[fd] = folder
            self._newest[str(directory)] = fd
        return fd

    def trusted_uids(self, fd: int) -> frozenset[int]:
        """Return the users whose files in a folder are trusted; as `trusted_uids` of `folder_check`."""
        folder = self._open[fd]
        if folder.uids is None:
            folder.uids = trusted_uids(folder.path, fd)
        return folder.uids

    def sync(self, fd: int) -> None:
        """Return when all names that a folder has by now are durable; errors are logged."""
        folder = self._open[fd]
        self._sync(fd, folder.path, folder.key)

    def close(self, fd: int) -> None:
        """Stop using a descriptor; the last user closes it."""
        with self._mutex:
            folder = self._open[fd]
            folder.users -= 1
            if folder.users:
                return
            del self._open[fd]
            if self._newest.get(str(folder.path)) == fd:
                del self._newest[str(folder.path)]
            os.close(fd)

    def _share(self, directory: Path) -> int | None:
        """Return the descriptor in use, if the path still leads to the same folder."""
        with self._mutex:
            fd = self._newest.get(str(directory))
            if fd is None:
                return None
            folder = self._open[fd]
            folder.users += 1
        try:
            if _key(directory.lstat()) == folder.key:
                return fd
        except OSError:
            pass  # it was removed, and is made again
        self.close(fd)
        return None


def _key(status: os.stat_result) -> _Key:
    return status.st_dev, status.st_ino


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
        self._folders: dict[_Key, _Folder] = {}

    def __call__(self, fd: int, path: Path, key: _Key) -> None:
        """Return when all names that the folder has by now are durable; errors are logged."""
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
