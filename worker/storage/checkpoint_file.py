"""The file that holds a part file's checkpoint, in the same folder."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path

from domain.errors import InvalidInputError
from worker.storage.checkpoint import Checkpoint, read_checkpoint
from worker.storage.disk_errors import optional_operation, sync_file
from worker.storage.own_files import (
    ForeignFileError,
    create_own_file,
    move_name,
    read_own_file,
    remove_name,
)


class CheckpointFile:
    """Reads and writes the checkpoint of one part file. Every method may raise OSError.

    Args:
        part: the part file's path.
        folder: the folder's descriptor.
        uids: users whose files are trusted.
    """

    def __init__(self, part: Path, folder: int, uids: frozenset[int]) -> None:
        self._path, self._folder, self._uids = part.with_suffix(".json"), folder, uids

    def read(self, size: int) -> Checkpoint:
        """Return the checkpoint, or an empty one if there is none that fits a part file of `size` bytes.

        One that does not fit is removed: once the part file has its full length, it would seem to fit.
        """
        try:
            text = read_own_file(self._path, folder=self._folder, uids=self._uids)
            checkpoint = read_checkpoint(text)
            if checkpoint.fits(size):
                return checkpoint
        except FileNotFoundError:
            return Checkpoint()
        except (ValueError, InvalidInputError, ForeignFileError):
            pass  # cut short by a crash, or not written by this service
        self.remove()
        return Checkpoint()

    def write(self, checkpoint: Checkpoint) -> None:
        """Replace the checkpoint in one atomic step."""
        temporary = self._path.with_suffix(".tmp")
        with os.fdopen(create_own_file(temporary, folder=self._folder), "w") as file:
            json.dump(asdict(checkpoint), file)
            file.flush()
            sync_file(file.fileno())
        move_name(temporary, self._path, folder=self._folder)

    def remove(self) -> None:
        """Remove the checkpoint, durably: after a crash it would describe bytes that have changed."""
        if remove_name(self._path, folder=self._folder):
            with optional_operation(self._path.parent):
                os.fsync(self._folder)
