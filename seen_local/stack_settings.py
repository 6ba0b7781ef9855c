"""Settings with which a process uses a local stack, written to the environment for it and its children.

They must be written before Celery reads its settings, which it does only once.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from domain.errors import SettingsError
from seen_local.late_settings import settings_module
from seen_local.secret_key import local_secret_key

if TYPE_CHECKING:
    from settings import Settings

#: Defaults on one machine: the private networks are allowed. Link-local addresses are not, because
#: clouds serve instance metadata there.
LOCAL_DEFAULTS: Mapping[str, object] = MappingProxyType(
    {
        "allowed_networks": "127.0.0.0/8,::1/128,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,fc00::/7",
        "requeue_interval": 1,
        "persist_interval": 2,
        "reconcile_interval": 5,
    }
)

#: Settings that name a store.
_STORE = frozenset({"cache_addr", "broker_url", "result_url"})


def has_store(settings: Settings) -> bool:
    """Return whether a store is configured; then no local stack is started or looked for."""
    return not _STORE.isdisjoint(settings.model_fields_set)


def has_shared_database(settings: Settings) -> bool:
    """Return whether a database server is configured, which is for other machines, too."""
    url = settings.database_url
    return url is not None and not url.get_secret_value().startswith("sqlite")


def sqlite_url(settings: Settings) -> str:
    """Return the URL of the SQLite database with an absolute path."""
    scheme, slashes, path = settings.sqlalchemy_url().partition(":///")
    is_relative = bool(path) and path[0] not in "/:"
    return f"{scheme}{slashes}{Path(path).absolute() if is_relative else path}"


def override(values: Mapping[str, object]) -> Settings:
    """Write settings, by field name, to the environment; return the new settings."""
    for field, value in values.items():
        os.environ[f"{settings_module.PREFIX}{field.upper()}"] = str(value)
        for name in settings_module.file_variables(field):
            del os.environ[name]
    settings_module.load.cache_clear()
    return settings_module.load()


def configure_for_local_stack(
    settings: Settings, cache_addr: str, download_dir: str, *, any_directory: bool
) -> Settings:
    """Make this process use the local stack; settings that the user has set are kept.

    Args:
        settings: the present ones.
        cache_addr: of its store.
        download_dir: of its workers.
        any_directory: whether jobs of this process may have an absolute folder: those of `seen get`
            have one, so that workers need it, too. For others the download folder is the limit.
    """
    settings = use_local_secret_key(settings)
    wanted = {**LOCAL_DEFAULTS, **({"allow_any_directory": True} if any_directory else {})}
    defaults = {k: v for k, v in wanted.items() if k not in settings.model_fields_set}
    return override({**defaults, **store_fields(cache_addr), "download_dir": download_dir})


def store_fields(cache_addr: str) -> dict[str, object]:
    """Return the settings of a connection to the store of a local stack, by field name."""
    from pydantic import SecretStr

    return {
        "cache_addr": cache_addr,
        "cache_username": "",
        "cache_password": SecretStr(""),
        "cache_tls": False,
        "cache_db": 0,
    }


def use_local_secret_key(settings: Settings) -> Settings:
    """Add the local key to the keys that decrypt secrets of jobs; a configured key encrypts."""
    own = local_secret_key(make_data_dir(settings))
    if own in settings.secret_keys:
        return settings
    return override({"secret_key": ",".join((*settings.secret_keys, own))})


def make_data_dir(settings: Settings) -> Path:
    """Create the data folder, private to its owner, and return it.

    Raises:
        SettingsError: it cannot be created, or is not writable.
    """
    folder = settings.data_dir
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(
            f"The data folder {folder} cannot be created: {error.strerror}. Set SEEN_DATA_DIR."
        ) from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise SettingsError(f"The data folder {folder} is not writable. Set SEEN_DATA_DIR.")
    return folder
