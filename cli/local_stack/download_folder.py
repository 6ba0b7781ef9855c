"""Checks, before a worker starts, that it can write to the download folder."""

from __future__ import annotations

import os
from pathlib import Path

from domain.errors import SettingsError


def make_download_folder(folder: Path) -> None:
    """Create the download folder if it does not exist.

    Raises:
        SettingsError: it cannot be created or written to; says by whom, and to whom it belongs.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        usable = os.access(folder, os.R_OK | os.W_OK | os.X_OK, effective_ids=True)
        problem = "" if usable else _describe(folder)
    except FileExistsError:
        raise SettingsError(
            f"The download folder {folder} is not a folder. Set SEEN_DOWNLOAD_DIR to one."
        ) from None
    except OSError as error:
        raise SettingsError(
            f"The download folder {folder} cannot be created or used as user {os.geteuid()}: "
            f"{error.strerror}. Create it, or set SEEN_DOWNLOAD_DIR."
        ) from None
    if problem:
        raise SettingsError(problem)


def _describe(folder: Path) -> str:
    """Return who cannot write to a folder, whose it is, and what to do."""
    status, user, group = folder.stat(), os.geteuid(), os.getegid()
    why = f"The download folder {folder} is not writable for user {user}, group {group}: "
    if os.statvfs(folder).f_flag & os.ST_RDONLY:
        return f"{why}its file system is mounted read-only. Mount it writable."
    return (
        f"{why}it belongs to user {status.st_uid}, group {status.st_gid} and has mode "
        f"{status.st_mode & 0o7777:04o}. Change its owner (chown {user}:{group} FOLDER), or run the "
        "worker as its owner (DOWNLOADS_OWNER in .env, with Compose)."
    )
