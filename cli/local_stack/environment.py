"""Settings of the local stack, resolved before its processes start, and what it refuses."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from domain.errors import SettingsError
from seen_local.late_settings import settings_module
from seen_local.stack_settings import (
    configure_for_local_stack,
    has_shared_database,
    has_store,
    make_data_dir,
    override,
    sqlite_url,
    use_local_secret_key,
)

if TYPE_CHECKING:
    from settings import Settings

__all__ = [
    "ROOT",
    "configure_for_local_stack",
    "ensure_secret_key",
    "has_store",
    "make_data_dir",
    "override",
    "refuse_shared_database",
    "resolve_paths",
]

#: The folder of the program. Its processes run there, because Celery imports from the current folder,
#: which may contain another `settings.py`.
ROOT = Path(__file__).resolve().parents[2]


def ensure_secret_key(settings: Settings) -> Settings:
    """Use the local key, unless a store or database server is configured for other machines, too."""
    if has_store(settings) or has_shared_database(settings):
        return settings
    return use_local_secret_key(settings)


def refuse_shared_database(settings: Settings) -> None:
    """Refuse to run a local stack on a database server, where it would run jobs of other services.

    Raises:
        SettingsError: a database server is configured, but no store.
    """
    if has_shared_database(settings):
        raise SettingsError(
            "SEEN_DATABASE_URL names a database server, but SEEN_CACHE_ADDR names no store. "
            "Set both for a shared service, or neither for a local stack."
        )


def resolve_paths() -> Settings:
    """Make all paths of the settings absolute, because child processes run in another folder."""
    settings = settings_module.load()
    paths: dict[str, object] = {
        "data_dir": settings.data_dir,
        "download_dir": settings.files_dir,
    }
    for name in ("cache_tls_ca", "ca_file", "netrc", "on_end"):
        file: Path | None = getattr(settings, name)
        if file is not None:
            paths[name] = file.absolute()
    if settings.database_url is not None and not has_shared_database(settings):
        paths["database_url"] = sqlite_url(settings)
    _resolve_secret_files()
    return override(paths)


def _resolve_secret_files() -> None:
    for field in settings_module.Settings.model_fields:
        for name in settings_module.file_variables(field):
            if os.environ[name]:
                os.environ[name] = str(Path(os.environ[name]).expanduser().absolute())
