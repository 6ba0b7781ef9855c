"""The file that holds a part file's checkpoint, in the same folder."""

from __future__ import annotations

import json
import os
import re
from dataclasses import fields
from pathlib import Path

from pydantic import TypeAdapter

from domain.errors import InvalidInputError
from domain.files import MAX_SIZE, Checksum
from seen_local.own_files import (
    ForeignFileError,
    create_own_file,
    move_name,
    read_own_file,
    remove_name,
)
from worker.storage.destination import Checkpoint
from worker.storage.disk_errors import optional_operation, sync_file
from worker.storage.filenames import safe_name, working_file

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_CHECKPOINT = TypeAdapter(Checkpoint)


class CheckpointFile:
    """Reads and writes the checkpoint of one part file. Every method may raise OSError.

    Args:
        part: the part file's path.
        folder: the folder's descriptor.
        uids: users whose files are trusted.
    """

    def __init__(self, part: Path, folder: int, uids: frozenset[int]) -> None:
        self._part, self._folder, self._uids = part, folder, uids
        self._path = working_file(part, ".json")

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
        temporary = working_file(self._part, ".tmp")
        # Not by `json.dump`, which encodes in Python and leaves a cycle of objects behind each time.
        text = json.dumps({one.name: getattr(checkpoint, one.name) for one in fields(checkpoint)})
        with os.fdopen(create_own_file(temporary, folder=self._folder), "w") as file:
            file.write(text)
            file.flush()
            sync_file(file.fileno())
        move_name(temporary, self._path, folder=self._folder)

    def remove(self) -> None:
        """Remove the checkpoint, durably: after a crash it would describe bytes that have changed."""
        if remove_name(self._path, folder=self._folder):
            with optional_operation(self._part.parent):
                os.fsync(self._folder)


def read_checkpoint(text: bytes) -> Checkpoint:
    """Parse a checkpoint.

    It may be incomplete or written by another program, so `name`, which becomes a file name, and the
    validators, which are sent in headers, are checked.

    Raises:
        ValueError, InvalidInputError: the service would not write this.
    """
    found = _CHECKPOINT.validate_json(text)
    if found.name is not None and safe_name(found.name) != found.name:
        raise ValueError("Its name is not a file name.")
    if any(one and _CONTROL.search(one) for one in (found.validator, found.date)):
        raise ValueError("Its validator has control characters.")
    if found.total is not None and found.total > MAX_SIZE:
        raise ValueError("Its total is not a file size.")
    for digest in found.digests:
        Checksum.parse(digest)
    return found
