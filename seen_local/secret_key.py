"""The key that encrypts secrets of jobs on one machine: `secret.key` in the data folder."""

from __future__ import annotations

import os
import secrets
import tempfile
from pathlib import Path

from domain.errors import SettingsError
from seen_local.own_files import read_own_file


def local_secret_key(data_dir: Path) -> str:
    """Return the key; create it if the file does not exist. The data folder exists.

    Of several processes that create it at once, one succeeds and all return its key.

    Raises:
        SettingsError: the file cannot be read or created, or contains no key.
    """
    path = data_dir / "secret.key"
    try:
        if not os.path.lexists(path):
            _create(path)
        # It has two names while another process creates it.
        key = read_own_file(path, may_have_links=True).decode("ascii").strip()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "it is not text"
        raise SettingsError(
            f"The key file {path} cannot be used: {why}. Repair it: headers and logins of stored jobs "
            "cannot be read without it."
        ) from None
    if len(key) < 16:
        raise SettingsError(
            f"The key file {path} contains no key. Remove it to create a new one; headers and logins of "
            "stored jobs are lost then."
        )
    return key


def _create(path: Path) -> None:
    number, name = tempfile.mkstemp(prefix="secret.key.", dir=path.parent)  # mode 0600
    draft = Path(name)
    try:
        with os.fdopen(number, "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(32) + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            path.hardlink_to(draft)
        except FileExistsError:
            return  # another process has created it
        except OSError:
            draft.replace(path)  # a file system without hard links
    finally:
        draft.unlink(missing_ok=True)
