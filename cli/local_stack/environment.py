"""Settings that this process decides for itself and for its children, event through the environment.

Everything reads its settings from the environment, so that is where a decision is written; nothing here
reads it. It has to happen before Celery is configured, since that takes place once.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import settings as settings_module
from cli.local_stack.secret_key import local_secret_key
from domain.errors import SettingsError
from settings import PREFIX, Settings

#: Where the program lies. Its processes run from here: Celery looks for modules in the current folder
#: first, and in a person's folder a `settings.py` may be anything.
ROOT = Path(__file__).resolve().parents[2]

#: On one's own machine one may write where one likes and download from one's own network. Link-local
#: addresses, where clouds keep their metadata, stay shut.
LOCAL_DEFAULTS: Mapping[str, object] = MappingProxyType(
    {
        "allow_any_directory": True,
        "allowed_networks": "127.0.0.0/8,::1/128,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,fc00::/7",
        "requeue_interval": 1,
        "persist_interval": 2,
        "reconcile_interval": 5,
    }
)

#: Any of these says that there is a store already.
_STORE = frozenset({"cache_addr", "broker_url", "result_url"})


def has_store(settings: Settings) -> bool:
    """Say whether a store is configured, so that there is no local stack."""
    return not _STORE.isdisjoint(settings.model_fields_set)


def override(values: Mapping[str, object]) -> Settings:
    """Set settings by their field names and return all of them, read anew."""
    for field, value in values.items():
        os.environ[f"{PREFIX}{field.upper()}"] = str(value)
    settings_module.load.cache_clear()
    return settings_module.load()


def configure_for_local_stack(settings: Settings, cache_addr: str, download_dir: str) -> Settings:
    """Make this process part of the local stack; what the person has set stays as it is."""
    settings = use_local_secret_key(settings)
    local = {k: v for k, v in LOCAL_DEFAULTS.items() if k not in settings.model_fields_set}
    plain = {"cache_username": "", "cache_password": "", "cache_tls": False, "cache_db": 0}
    return override(
        {**local, **plain, "cache_addr": cache_addr, "download_dir": download_dir},
    )


def use_local_secret_key(settings: Settings) -> Settings:
    """Have secrets of jobs kept with the data folder's own key; one that is configured goes first."""
    own = local_secret_key(make_data_dir(settings))
    if own in settings.secret_keys:
        return settings
    return override({"secret_key": ",".join((*settings.secret_keys, own))})


def ensure_secret_key(settings: Settings) -> Settings:
    """Have jobs of this machine's own database keep secrets with its key, whoever runs them later.

    Where a store or a database server is configured, workers elsewhere do not have that key.
    """
    if has_store(settings) or _has_shared_database(settings):
        return settings
    return use_local_secret_key(settings)


def _has_shared_database(settings: Settings) -> bool:
    url = settings.database_url
    return url is not None and not url.get_secret_value().startswith("sqlite")


def refuse_shared_database(settings: Settings) -> None:
    """Keep a stack of one's own off a database that others work on: it would run their jobs here.

    Raises:
        SettingsError: a database server is configured, and no store.
    """
    if _has_shared_database(settings):
        raise SettingsError(
            "SEEN_DATABASE_URL names a database server, but SEEN_CACHE_ADDR names no store. "
            "Set both for a shared service, or neither for a stack of your own."
        )


def resolve_paths() -> Settings:
    """Write every path of the settings in full: processes that inherit them run in another folder."""
    settings = settings_module.load()
    paths: dict[str, object] = {
        "data_dir": settings.data_dir,
        "download_dir": settings.files_dir,
    }
    for name in ("cache_tls_ca", "ca_file", "netrc"):
        path = getattr(settings, name)
        if path is not None:
            paths[name] = path.absolute()
    if settings.database_url is not None:
        scheme, _, place = settings.database_url.get_secret_value().partition(":///")
        if scheme.startswith("sqlite") and place and place[0] not in "/:":
            paths["database_url"] = f"{scheme}:///{Path(place).absolute()}"
    return override(paths)


def make_data_dir(settings: Settings) -> Path:
    """Create the data folder, private to its owner, and return it.

    Raises:
        SettingsError: it cannot be created or written.
    """
    folder = settings.data_dir
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(
            f"The data folder {folder} cannot be created: {error.strerror}. Set SEEN_DATA_DIR."
        ) from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise SettingsError(f"The data folder {folder} cannot be written. Set SEEN_DATA_DIR.")
    return folder
