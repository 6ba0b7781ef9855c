"""Where `seen get` puts files: ``--output`` is a folder or, for one URL, a file."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from cli.arguments.text_file import is_text
from domain.errors import InvalidInputError

OPTION = "--output"


class Output(NamedTuple):
    """Where a file goes."""

    folder: str
    """It need not exist yet."""
    name: str | None
    """None for the name that the origin or the URL gives it."""


def local_output(output: str, *, urls: int, name: str | None, overwrite: bool) -> Output:
    """Return the absolute folder, and the file name, that ``--output`` means on this machine.

    An existing folder, and whatever ends with a slash, is a folder. So is every path beside ``--name``.
    Any other is the file of one URL.

    Args:
        output: as typed; "" is the current folder.
        urls: how many files are downloaded.
        name: of ``--name``.
        overwrite: the file may exist.

    Raises:
        InvalidInputError: it is neither for these URLs, or cannot be created or written.
    """
    output = output or os.curdir
    path = _expanded(output)
    if path.is_dir() or _is_folder(output, name):
        return Output(_writable_folder(output, path), name)
    _refuse_several(output, urls)
    if path.exists() and not path.is_file():
        raise InvalidInputError(OPTION, output, "It is a device, pipe or socket; name a file.")
    if path.exists() and not overwrite:
        raise InvalidInputError(OPTION, output, "The file exists. --overwrite replaces it.")
    return Output(_writable_folder(output, path.parent), path.name)


def remote_output(output: str, files_dir: Path, *, urls: int, name: str | None) -> Output:
    """Do `local_output` for a path in the workers' download folder.

    Which folders exist there is known if it is a folder of this machine, too.
    """
    if _is_folder(output, name) or (files_dir / _expanded(output)).is_dir():
        return Output(output, name)
    _refuse_several(output, urls)
    path = PurePosixPath(output)
    return Output("" if str(path.parent) == "." else str(path.parent), path.name)


def _is_folder(output: str, name: str | None) -> bool:
    return name is not None or output.rpartition("/")[2] in {"", ".", ".."}


def _refuse_several(output: str, urls: int) -> None:
    if urls > 1:
        raise InvalidInputError(
            OPTION, output, f"There is no such folder. To create it, write {output + '/'!r}."
        )


def _expanded(output: str) -> Path:
    if not is_text(output) or "\0" in output:
        raise InvalidInputError(OPTION, output, "It is not the name of a file or folder.")
    if output == "-":
        raise InvalidInputError(OPTION, output, "Files are not written to standard output.")
    try:
        path = Path(output).expanduser()
        path.exists()
    except (OSError, RuntimeError) as error:  # RuntimeError: `~name` of an unknown user
        why = getattr(error, "strerror", None) or str(error).rstrip(".")
        raise InvalidInputError(OPTION, output, f"It cannot be used: {why}.") from None
    return path


def _writable_folder(output: str, folder: Path) -> str:
    """Return the absolute path of a folder, which need not exist yet."""
    try:
        target = folder.resolve()
        existing = next(path for path in (target, *target.parents) if path.exists())
    except FileNotFoundError:  # only where the path is relative
        why = "The current folder does not exist any more; write an absolute path."
        raise InvalidInputError(OPTION, output, why) from None
    except (OSError, RuntimeError) as error:  # RuntimeError: links that form a loop
        why = getattr(error, "strerror", None) or str(error).rstrip(".")
        raise InvalidInputError(OPTION, output, f"It cannot be used: {why}.") from None
    if not existing.is_dir():
        raise InvalidInputError(OPTION, output, f"{existing} is not a folder.")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise InvalidInputError(OPTION, output, f"{existing} is not writable.")
    return str(target)
