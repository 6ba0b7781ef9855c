"""What is said of a running download whose disk does not answer, and what to do about it."""

from __future__ import annotations

#: The error code of a running download while a call of its disk hangs.
DISK_SILENT = "disk_silent"

_CHECK = "Check the disk, its mount or its server; the download continues when it answers."


def silence(folder: str) -> str:
    """Return the reason that is shown while the disk does not answer."""
    return f"The disk of its folder does not answer: {folder}. {_CHECK}"


def silence_note(folder: str, seconds: float) -> str:
    """Return the note in the job's history when the disk has not answered for so long."""
    return f"the disk of its folder has not answered for {seconds:.0f} s: {folder}. {_CHECK}"


def answer_note(seconds: float) -> str:
    """Return the note in the job's history when the disk answers again."""
    return f"the disk of its folder answers again, after {seconds:.0f} s"
