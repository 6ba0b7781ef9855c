"""Opens part files as the destinations of jobs."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from worker.storage.disk_errors import disk_errors
from worker.storage.disk_space import DiskSpace
from worker.storage.errno_table import FileOperation
from worker.storage.filenames import part_path, working_file
from worker.storage.folders import OpenFolders
from worker.storage.part_file import PartFile


@dataclass(frozen=True, slots=True)
class LocalDestinations:
    """The `Destinations` on a file system.

    Args:
        root: the download folder, resolved.
        space: the reserved space of all part files of this process.
    """

    root: Path
    space: DiskSpace
    folders: OpenFolders = field(default_factory=OpenFolders)

    def open(self, directory: Path, job_id: str) -> PartFile:
        """Open or create the part file of a job; raises as `PartFile` does."""
        is_outside_root = not directory.is_relative_to(self.root)
        return PartFile(
            directory,
            job_id,
            is_outside_root=is_outside_root,
            space=self.space,
            folders=self.folders,
        )

    def exists(self, directory: Path, job_id: str) -> bool:
        """Return whether the job has a part file, or one that is being published; creates nothing."""
        path = part_path(directory, job_id)
        with disk_errors(FileOperation.EXAMINE, directory):
            return any(_exists(working_file(path, suffix)) for suffix in (".part", ".publish"))


def _exists(path: str) -> bool:
    """Return whether the name is taken; unlike `Path.exists` raise if the folder cannot be read."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True
