"""The key of a stack of one's own, made once: `secret.key` in the data folder, private to its owner."""

from __future__ import annotations

import os
import secrets
import tempfile
from pathlib import Path

from domain.errors import SettingsError
from worker.storage.own_files import read_own_file


def local_secret_key(data_dir: Path) -> str:
    """Return the key, and make it if there is none; the data folder is there.

    Of several that make one at the same time the first wins. It is never half written.

    Raises:
        SettingsError: the file cannot be read or made, or holds no key.
    """
    path = data_dir / "secret.key"
    try:
        if not os.path.lexists(path):
            _make(path)
        # It has two names for a moment while another process makes it.
        key = read_own_file(path, may_have_links=True).decode("ascii").strip()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "it is not text"
        raise SettingsError(
            f"The key file {path} cannot be used: {why}. Put that right; without it headers and logins "
            "that jobs keep cannot be read."
        ) from None
    if len(key) < 16:
        raise SettingsError(
            f"The key file {path} holds no key. Remove it, and a new one is made; headers and logins "
            "that jobs keep are lost then."
        )
    return key


def _make(path: Path) -> None:
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
            return  # somebody else has just made it
        except OSError:
            draft.replace(path)  # a file system without hard links
    finally:
        draft.unlink(missing_ok=True)
