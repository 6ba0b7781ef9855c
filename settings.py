"""The settings: all variables, their defaults and valid values. No other module reads the environment.

A variable's name is that of its field with the prefix ``SEEN_``. All times are seconds, all sizes bytes.
A secret may be in a file instead, which the variable of the field with ``_FILE`` at its end names.
`load` checks all variables at once and names each wrong one; no process starts with a wrong one.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import re
import stat
from difflib import get_close_matches
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal
from urllib.parse import quote, urlsplit

import platformdirs
from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from domain.errors import SettingsError
from domain.limits import MAX_RATE, MIN_RATE
from domain.text import escaped, requirement

logger = logging.getLogger(__name__)

PREFIX = "SEEN_"

#: Fields whose variable had another name in the version before, which is accepted with a warning.
FORMER_NAMES = MappingProxyType(
    {
        "cache_client_side_entries": "cache_near_entries",
        "concurrency_share": "places_share",
        "requeue_interval": "wake_interval",
    }
)

#: A file with a secret is not longer than this many bytes.
MAX_SECRET = 64 * 1024

Seconds = Annotated[float, Field(gt=0, le=86_400 * 366)]
Count = Annotated[int, Field(ge=1, le=100_000)]
Limit = Annotated[int, Field(ge=0, le=100_000)]
Port = Annotated[int, Field(ge=1, le=65_535)]
DatabaseNumber = Annotated[int, Field(ge=0, le=1023)]


class Settings(BaseSettings):
    """The settings of a process, read once at its start."""

    # A compose file can leave a variable out only by making it empty.
    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="ignore", env_ignore_empty=True
    )

    # ── the store: cache, broker, results ───────────────────────────────────────────────────────
    cache_addr: str = Field(
        "127.0.0.1:6379", description="Dragonfly, Redis or Valkey: `host:port` or `unix:///path`."
    )
    cache_username: str = Field("", description="ACL user name, if the server needs one.")
    cache_password: SecretStr = Field(SecretStr(""), description="Password of the store.")
    cache_db: DatabaseNumber = Field(0, description="Database number of the cache.")
    cache_tls: bool = Field(False, description="Connect to the store with TLS.")
    cache_tls_ca: Path | None = Field(
        None, description="PEM file of the authority that signed the store's certificate."
    )
    cache_tls_verify: bool = Field(
        True, description="Check the store's certificate and host name (only with TLS)."
    )
    cache_namespace: str = Field(
        "seen", pattern=r"^[A-Za-z0-9_.-]{1,40}$", description="First part of every key."
    )
    cache_timeout: Seconds = Field(
        5.0, description="Time without an answer after which the store counts as unavailable."
    )
    cache_connect_timeout: Seconds = Field(5.0, description="Time to connect to the store.")
    cache_budget: Seconds = Field(
        0.25,
        description="Time that a read or write of sessions, users, catalogs and other cached "
        "values waits for the store. After it a read is a miss, and a write is dropped. "
        "At most `SEEN_CACHE_TIMEOUT`.",
    )
    cache_client_side_entries: Annotated[int, Field(ge=0, le=1_000_000)] = Field(
        0,
        description="Catalog values in each process's client-side cache, which the store "
        "invalidates (RESP3 client tracking); 0 for none.",
    )
    broker_url: SecretStr | None = Field(
        None, description="Celery's broker; by default the store, database `SEEN_CACHE_DB` + 1."
    )
    result_url: SecretStr | None = Field(
        None, description="Not used: tasks store no results. Accepted for the release before."
    )

    # ── the database and the disk ───────────────────────────────────────────────────────────────
    database_url: SecretStr | None = Field(
        None,
        description="`postgresql://…` or `sqlite:///path`; by default SQLite in the data folder.",
    )
    database_password: SecretStr = Field(
        SecretStr(""),
        description="Password of the user in `SEEN_DATABASE_URL`, if that has none. It needs no "
        "quoting.",
    )
    data_dir: Path = Field(
        default_factory=lambda: _user_data_dir(),
        validate_default=True,
        description="Folder of the embedded database and the logs.",
    )
    download_dir: Path | None = Field(
        None,
        description="Folder of the downloaded files; by default `downloads` in the data folder.",
    )
    allow_any_directory: bool = Field(
        False, description="Allow jobs with an absolute folder. Only for a machine with one user."
    )
    secret_key: SecretStr | None = Field(
        None,
        description="Encrypts headers, logins and cookies of jobs in the database. Random text of "
        "at least 16 characters (`openssl rand -hex 32`), the same for download workers and "
        "callers of `submit`. Several, comma separated, for a change of keys: the first "
        "encrypts, all decrypt.",
    )
    min_free_bytes: int = Field(
        64 * 2**20, ge=0, description="Bytes to leave free on the download folder's file system."
    )

    # ── how downloads run ───────────────────────────────────────────────────────────────────────
    download_concurrency: Count = Field(
        16, description="Downloads that one download worker runs at once."
    )
    maintenance_concurrency: Count = Field(2, description="Threads of a maintenance worker.")
    drain_timeout: Seconds = Field(
        20.0,
        description="Time that a worker has to drain after SIGTERM; then it exits with status 1. "
        "Service managers must wait longer than this before they kill it.",
    )
    max_attempts: Annotated[int, Field(ge=1, le=1000)] = Field(
        10, description="Attempts after which a job with transient errors fails."
    )
    retry_backoff: Seconds = Field(
        2.0, description="Back-off before the second attempt; it doubles with every further one."
    )
    retry_backoff_max: Seconds = Field(300.0, description="Longest back-off between two attempts.")
    short_retries: Annotated[int, Field(ge=0, le=100)] = Field(
        3,
        description="Failures in a row after which a running attempt retries within seconds; after "
        "one more, the attempt ends and the job waits. Progress faster than `SEEN_LOW_SPEED_LIMIT` "
        "resets the count.",
    )
    connect_timeout: Seconds = Field(10.0, description="Time to connect to an origin.")
    low_speed_time: Seconds = Field(
        30.0,
        description="A transfer slower than `SEEN_LOW_SPEED_LIMIT` for this long has timed out.",
    )
    low_speed_limit: Annotated[int, Field(ge=1)] = Field(
        1, description="Bytes per second below which a transfer counts as stalled."
    )
    min_bytes_per_minute: Annotated[int, Field(ge=0)] = Field(
        60_000,
        description="An attempt with fewer bytes in a minute of waiting for its origin ends, and "
        "the job waits for another one; 0 for no minimum. Time spent in rate limits does not count.",
    )
    max_bytes: int = Field(
        0,
        ge=0,
        le=2**63 - 1,
        description="Largest size of a file; 0 for any size. A job can have a smaller limit.",
    )
    connections: Annotated[int, Field(ge=1, le=32)] = Field(
        4, description="Most connections of one download, unless its job has a number."
    )
    proxy: SecretStr | None = Field(
        None,
        description="Proxy for origins, `http://`, `https://` or `socks5h://`, with "
        "`user:password@` if it needs a login. None by default; `http_proxy` is ignored.",
    )
    netrc: Path | None = Field(
        None,
        description="netrc file with logins for origins, for jobs without a login. Only its owner "
        "and group may have the right to read it.",
    )
    ca_file: Path | None = Field(
        None,
        description="PEM file of trusted authorities for https and ftps, instead of the system's.",
    )
    max_redirects: Annotated[int, Field(ge=0, le=50)] = Field(
        10, description="Redirects to follow for one request."
    )
    user_agent: str = Field(
        "seen-downloads/0.1", pattern=r"^[\x20-\x7e]{1,200}$", description="User-Agent header."
    )
    allowed_networks: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Networks that are not public, and from which downloads are allowed, comma "
        "separated (`127.0.0.0/8,10.0.0.0/8`).",
    )

    # ── limits that all workers share ───────────────────────────────────────
    host_connections: Limit = Field(
        16, description="Connections of all workers to one host; 0 for no limit."
    )
    host_downloads: Limit = Field(
        0, description="Downloads of all workers from one host at once; 0 for no limit."
    )
    user_downloads: Limit = Field(
        0, description="Downloads of one user at once in all workers; 0 for no limit."
    )
    max_downloads: Limit = Field(
        0,
        description="Downloads of all workers at once, unless `seen limit --downloads` sets another "
        "limit; 0 for no limit but that of each worker.",
    )
    concurrency_share: Annotated[int, Field(ge=1, le=100)] = Field(
        75,
        description="Percent of a worker's concurrency that downloads from one host, or of one "
        "user, may use while jobs of others are queued; 100 for all.",
    )
    max_rate: Annotated[int, Field(ge=0, le=MAX_RATE)] = Field(
        0,
        description="Bytes per second of all workers together, unless `seen limit --total` sets "
        "another limit; 0 for no limit.",
    )

    # ── TTLs ────────────────────────────────────────────────────────────────────────────────────
    lock_ttl: Seconds = Field(30.0, description="TTL of a download lock, which its worker renews.")
    progress_ttl: Seconds = Field(
        30.0, description="TTL of a progress hash, which its worker renews."
    )
    unpersisted_ttl: Seconds = Field(
        86_400.0,
        description="TTL of a finished job's progress hash that is not in the database yet.",
    )
    stale_after: Seconds = Field(
        3600.0, description="Progress without an update for this long is removed."
    )

    # ── retention ────────────────────────────────────────────────────────────────
    retention_days: Annotated[int, Field(ge=0, le=36_500)] = Field(
        30,
        description="Days after which a finished job is deleted, with its history; 0 keeps all. "
        "Downloaded files are never removed.",
    )

    # ── intervals ───────────────────────────────────────────────────────────────────────────────
    flush_interval: Seconds = Field(0.25, description="Time between two flushes of progress.")
    heartbeat_interval: Seconds = Field(
        5.0,
        description="Longest time between two updates of a progress hash, also without new bytes.",
    )
    checkpoint_interval: Seconds = Field(
        5.0,
        description="Time between two checkpoints of a part file; a crash loses the bytes since "
        "the last one.",
    )
    persist_interval: Seconds = Field(
        10.0, description="Time between two runs that save progress to the database."
    )
    requeue_interval: Seconds = Field(
        2.0,
        description="Time between two runs that requeue waiting jobs that are due, publish queued jobs "
        "without a message, and requeue jobs of dead workers.",
    )
    reconcile_interval: Seconds = Field(
        30.0,
        description="Time between two runs that compare the database with the store, correct what "
        "differs, and find lost messages.",
    )
    orphan_after: Seconds = Field(
        30.0,
        description="A running job without lock is an orphan after this long without updates, if the "
        "store may have lost data; otherwise already after twice `SEEN_HEARTBEAT_INTERVAL` plus "
        "`SEEN_PERSIST_INTERVAL`, if that is shorter. "
        "Not less than `SEEN_LOCK_TTL`: until then its worker may still be writing.",
    )
    sweep_interval: Seconds = Field(
        3600.0, description="Each download worker: remove part files that no job needs."
    )
    cleanup_interval: Seconds = Field(
        300.0,
        description="Time between two runs that remove stale progress, and the queues of killed "
        "processes in the broker.",
    )
    stats_interval: Seconds = Field(
        300.0, description="Time between two log lines with cache statistics."
    )

    # ── accounts ────────────────────────────────────────────────────────────────────────────────
    session_ttl: Annotated[float, Field(ge=60, le=86_400)] = Field(
        43_200.0,
        description="Time after which a session ends, unless it is refreshed; after 7 days it ends "
        "in any case.",
    )
    user_requests: Limit = Field(
        6_000, description="Requests of one user to the API in any minute; 0 for no limit."
    )
    address_failures: Count = Field(
        20,
        description="Failed sign-ins from one address in any minute; further ones are answered with "
        "429 and not logged. Valid keys and sessions work nevertheless.",
    )

    # ── the HTTP API ────────────────────────────────────────────────────────────────────────────
    api_address: str = Field(
        "127.0.0.1",
        description="IP address (`127.0.0.1`, `::`) or host name that the HTTP API listens on.",
    )
    api_port: Port = Field(8477, description="Port that the HTTP API listens on.")
    api_processes: Annotated[int, Field(ge=1, le=64)] = Field(
        1, description="Processes of `seen api`, which share its port."
    )
    api_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Host names under which the HTTP API is called, comma separated. Requests for "
        "others are refused; `localhost` and IP addresses are always allowed.",
    )
    api_url: str = Field(
        "",
        pattern=r"^(https?://[^/?#@\s]+/?)?$",
        description="Address of the HTTP API for its callers, such as `https://downloads.example.org`, "
        "if a proxy with TLS is in front of it. With https, cookies are for https alone.",
    )

    api_trusted_proxies: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Networks of the proxies in front of the HTTP API, comma separated "
        "(`10.0.0.5/32`). Only what these send in `X-Forwarded-For` and `X-Forwarded-Proto`, or in "
        "`Forwarded`, is believed: anyone can send such headers.",
    )
    aria2_rpc: bool = Field(
        False,
        description="Serve aria2's JSON-RPC at `/jsonrpc` of the HTTP API (`docs/aria2.md`); its secret "
        "token is an API key. `seen up` does so unless this is `false`.",
    )
    aria2_rpc_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Origins whose pages may call `/jsonrpc`, comma separated: "
        "`https://ariang.example.org`, `chrome-extension://ID`, `moz-extension://*`, `null` for pages "
        "from a file, `*` for all.",
    )

    # ── ends of jobs ────────────────────────────────────────────────────────────────────────────
    on_end: Path | None = Field(
        None,
        description="Program that a maintenance worker starts when a job has ended; its variables say "
        "which (`docs/webhooks.md`). It is not run by a shell. Set it for all workers.",
    )

    # ── Flower, logging ─────────────────────────────────────────────────────────────────────────
    flower_address: str = Field(
        "127.0.0.1",
        description="IP address (`127.0.0.1`, `::1`) or host name that Flower listens on.",
    )
    flower_port: Port = Field(5555, description="Port that Flower listens on.")
    flower_user: str = Field("seen", pattern=r"^[^:\s]{1,64}$", description="Flower's user name.")
    flower_password: SecretStr = Field(
        SecretStr(""), description="Flower's password; Flower does not start without one."
    )
    flower_read_only: bool = Field(
        True, description="Flower only shows; false lets it revoke tasks and restart workers."
    )
    flower_url: str = Field(
        "",
        pattern=r"^(https?://[^/?#@\s\"'<>]+[^?#@\s\"'<>]*)?$",
        description="Address of Flower for people, to which the page has a link; empty for no link.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Least severe level that workers and beat log."
    )
    log_format: Literal["lines", "json"] = Field(
        "lines",
        description="How all processes log: readable lines, or one JSON object a line "
        "(`docs/operations/logging.md`).",
    )

    tracing: bool | None = Field(
        None,
        description="Whether all processes record traces of jobs with OpenTelemetry "
        "(`docs/operations/logging.md`); by default if `OTEL_EXPORTER_OTLP_ENDPOINT` or "
        "`OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` is set.",
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read secrets from files, and variables by former names where the present ones are not set."""
        files, former = _SecretFiles(settings_cls), _FormerVariables(settings_cls)
        return init_settings, files, env_settings, former, dotenv_settings, file_secret_settings

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_unusable_file(cls, value: Any) -> Any:
        if isinstance(value, _SecretFileError):
            raise value
        return value

    @field_validator("cache_addr")
    @classmethod
    def _check_addr(cls, value: str) -> str:
        parse_addr(value)
        return value

    @field_validator(
        "allowed_networks", "api_hosts", "api_trusted_proxies", "aria2_rpc_origins", mode="before"
    )
    @classmethod
    def _split_networks(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("allowed_networks", "api_trusted_proxies")
    @classmethod
    def _check_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for network in value:
            ipaddress.ip_network(network)
        return value

    @field_validator("tracing")
    @classmethod
    def _check_tracing(cls, value: bool | None) -> bool | None:
        if value and not _can_trace():
            raise ValueError("it needs more packages: pip install 'seen-downloads[tracing]'")
        return value

    @field_validator("aria2_rpc_origins")
    @classmethod
    def _check_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            if not _ORIGIN.fullmatch(origin):
                raise ValueError("an origin is `scheme://host`, perhaps with a port, `null` or `*`")
        return tuple(origin.lower() for origin in value)

    @field_validator("max_rate")
    @classmethod
    def _check_rate(cls, value: int) -> int:
        if 0 < value < MIN_RATE:
            raise ValueError(f"it is 0, or at least {MIN_RATE} bytes per second")
        return value

    @field_validator("database_url")
    @classmethod
    def _check_database(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        scheme = value.get_secret_value().partition("://")[0].partition("+")[0]
        if scheme not in {"postgresql", "postgres", "sqlite"}:
            raise ValueError("it begins with postgresql:// or sqlite:///")
        # Imported here: without a database URL, no SQLAlchemy is needed.
        from sqlalchemy.engine import make_url
        from sqlalchemy.exc import ArgumentError

        try:
            make_url(value.get_secret_value())
        except (ValueError, ArgumentError):
            raise ValueError(
                "it is not a valid URL: check user, password, host, port and path"
            ) from None
        return value

    @field_validator("secret_key")
    @classmethod
    def _check_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not all(len(key) >= 16 for key in _parts(value)):
            raise ValueError("each key has at least 16 characters")
        return value

    @field_validator("proxy")
    @classmethod
    def _check_proxy(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        try:
            parts = urlsplit(value.get_secret_value())
            usable = bool(parts.hostname) and parts.port != 0
        except ValueError:
            usable = False
        if not usable or parts.scheme not in {"http", "https", "socks5h"}:
            raise ValueError("it is written http://host:port, https:// or socks5h://")
        if parts.path.strip("/") or parts.query or parts.fragment:
            raise ValueError("it ends with the port")
        return value

    @field_validator("broker_url", "result_url")
    @classmethod
    def _check_broker(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        if urlsplit(value.get_secret_value()).scheme not in {"redis", "rediss", "redis+socket"}:
            raise ValueError("it begins with redis://, rediss:// or redis+socket://")
        return value

    @field_validator("data_dir", "download_dir", "netrc", "cache_tls_ca", "ca_file", "on_end")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        return None if value is None else absolute(value)

    @field_validator("on_end")
    @classmethod
    def _check_program(cls, value: Path | None) -> Path | None:
        if value is not None and not value.is_file():
            raise ValueError("there is no such file")
        if value is not None and not os.access(value, os.X_OK):
            raise ValueError(f"it is not executable; run: chmod +x {value}")
        return value

    @field_validator("flower_address")
    @classmethod
    def _check_flower_address(cls, value: str) -> str:
        return _check_listening_address(value)

    @field_validator("netrc")
    @classmethod
    def _check_netrc(cls, value: Path | None) -> Path | None:
        if value is None:
            return None
        try:
            mode = value.stat().st_mode
        except OSError:
            return value  # a process that only submits does not need it
        if not stat.S_ISREG(mode):
            raise ValueError("it is not a file")
        if mode & stat.S_IROTH:
            raise ValueError(f"every user may read it; run: chmod o-r {value}")
        return value

    @model_validator(mode="after")
    def _intervals_fit(self) -> Settings:
        for shorter, longer in (
            ("heartbeat_interval", "progress_ttl"),
            ("flush_interval", "progress_ttl"),
            ("retry_backoff", "retry_backoff_max"),
            ("lock_ttl", "orphan_after"),
        ):
            if getattr(self, shorter) > getattr(self, longer):
                raise ValueError(
                    f"{_variable(shorter)} ({getattr(self, shorter):g}) must not be more than "
                    f"{_variable(longer)} ({getattr(self, longer):g})"
                )
        return self

    @model_validator(mode="after")
    def _password_has_a_user(self) -> Settings:
        if not self.database_password.get_secret_value():
            return self
        if self.database_url is None or self._is_sqlite():
            raise ValueError(
                "SEEN_DATABASE_PASSWORD is set, but SEEN_DATABASE_URL names no PostgreSQL server"
            )
        from sqlalchemy.engine import make_url

        url = make_url(self.database_url.get_secret_value())
        if url.password is not None or "password" in url.query:
            raise ValueError(
                "SEEN_DATABASE_PASSWORD is set, and SEEN_DATABASE_URL has a password, too; "
                "remove one of them"
            )
        return self

    @property
    def secret_keys(self) -> tuple[str, ...]:
        """The keys of SEEN_SECRET_KEY, the one that encrypts first."""
        return _parts(self.secret_key) if self.secret_key else ()

    @property
    def files_dir(self) -> Path:
        """The download folder."""
        return self.download_dir or self.data_dir / "downloads"

    def sqlalchemy_url(self) -> str:
        """The database URL with its driver named, secrets included."""
        if self.database_url is None:
            return f"sqlite:///{quote(str(self.data_dir / 'seen.db'))}"
        if self._is_sqlite():
            return self.database_url.get_secret_value()
        url = f"postgresql+psycopg://{self.database_url.get_secret_value().partition('://')[2]}"
        password = self.database_password.get_secret_value()
        if not password:
            return url
        from sqlalchemy.engine import make_url

        return make_url(url).set(password=password).render_as_string(hide_password=False)

    def _is_sqlite(self) -> bool:
        """Return whether the database URL, which is set, names an SQLite file."""
        url = self.database_url
        return url is not None and url.get_secret_value().startswith("sqlite")

    @property
    def tracing_is_on(self) -> bool:
        """Whether this process records traces: by SEEN_TRACING, or by OpenTelemetry's own variables."""
        if self.tracing is not None:
            return self.tracing
        is_off = os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
        is_none = os.environ.get("OTEL_TRACES_EXPORTER", "").strip().lower() == "none"
        # Without the packages the variables are meant for other programs.
        return any(map(os.environ.get, _OTEL_ENDPOINTS)) and not is_off | is_none and _can_trace()

    @property
    def otel_service_name(self) -> str:
        """The name of the service in its traces."""
        return os.environ.get("OTEL_SERVICE_NAME") or "seen-downloads"

    def celery_broker_url(self) -> str:
        """The broker URL, secrets included."""
        return self.broker_url.get_secret_value() if self.broker_url else self.store_url(1)

    def store_url(self, offset: int) -> str:
        """The store as a URL for kombu and Celery, `offset` databases above the cache's own."""
        database = self.cache_db + offset
        user = quote(self.cache_username, safe="")
        password = quote(self.cache_password.get_secret_value(), safe="")
        login = f"{user}:{password}@" if user or password else ""
        host, port, path = parse_addr(self.cache_addr)
        if path:
            return f"redis+socket://{login}{quote(path)}?virtual_host={database}"
        shown = f"[{host}]" if ":" in host else host
        scheme = "rediss" if self.cache_tls else "redis"
        return f"{scheme}://{login}{shown}:{port}/{database}"


class _SecretFileError(ValueError):
    """A file of a secret that cannot be used."""


class _SecretFiles(PydanticBaseSettingsSource):
    """The secrets that are in files; an error in place of a secret whose file cannot be used."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Return the secret, or the error; None where the variable of the file is not set."""
        path = _value_of(file_field(field_name)) if is_secret(field) else ""
        if not path:
            return None, field_name, False
        shown = f"{_variable(file_field(field_name))}={_shown_path(path)}"
        if _value_of(field_name):
            both = f"{shown}: {_variable(field_name)} is set, too; remove one of them"
            return _SecretFileError(both), field_name, False
        try:
            return read_secret(Path(path).expanduser()), field_name, False
        except (ValueError, RuntimeError) as error:
            return _SecretFileError(f"{shown}: {error}"), field_name, False

    def __call__(self) -> dict[str, Any]:
        """Return the secrets, or errors, by the names of their fields."""
        fields = self.settings_cls.model_fields.items()
        found = {name: self.get_field_value(field, name)[0] for name, field in fields}
        return {name: value for name, value in found.items() if value is not None}


def is_secret(field: FieldInfo) -> bool:
    """Return whether a field is a secret, which may be in a file."""
    return "SecretStr" in str(field.annotation)


def file_field(name: str) -> str:
    """Return what a secret's file goes by: the name of the secret's field with `_file`."""
    return f"{name}_file"


def file_variables(field: str) -> list[str]:
    """Return the variables that are set and name a secret's file; case is ignored."""
    if not is_secret(Settings.model_fields[field]):
        return []
    wanted = _variable(file_field(field))
    return [name for name in os.environ if name.upper() == wanted]


def read_secret(path: Path) -> str:
    """Return the one line of a file, without a byte-order mark and line ends.

    Its mode does not matter: container engines mount secrets readable by all.

    Raises:
        ValueError: says what is wrong with the file, and nothing of its content.
    """
    try:
        content = _content(path)
    except PermissionError as error:
        raise ValueError(f"user {os.geteuid()} cannot read it ({error.strerror})") from None
    except OSError as error:
        raise ValueError(f"it cannot be read ({error.strerror})") from None
    if len(content) > MAX_SECRET:
        raise ValueError(f"it has more than {MAX_SECRET // 1024} KiB")
    try:
        text = content.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError:
        raise ValueError("its content is not UTF-8 text") from None
    if not text.strip():
        raise ValueError("it is empty")
    if any(character in text for character in "\r\n\0"):
        raise ValueError("it has more than one line, or a null character")
    return text


def _content(path: Path) -> bytes:
    """Return the first bytes of a regular file, one more than a secret may have."""
    # Without O_NONBLOCK, opening a FIFO would wait for a writer.
    number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(number).st_mode):
            raise ValueError("it is not a regular file")
        with os.fdopen(number, "rb", closefd=False) as file:
            return file.read(MAX_SECRET + 1)
    finally:
        os.close(number)


class _FormerVariables(PydanticBaseSettingsSource):
    """The variables that are set by their former names."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002
        """Return the value under the field's former name; None where it is not set."""
        former = FORMER_NAMES.get(field_name)
        return (_value_of(former) or None if former else None), field_name, False

    def __call__(self) -> dict[str, Any]:
        """Return the values by the present names of their fields."""
        fields = self.settings_cls.model_fields.items()
        found = {name: self.get_field_value(field, name)[0] for name, field in fields}
        return {name: value for name, value in found.items() if value is not None}


def parse_addr(text: str) -> tuple[str, int, str]:
    """Split a store address into (host, port, ""), or ("", 0, path) for a unix socket.

    Raises:
        ValueError: says what is wrong with it.
    """
    if text.startswith(("unix://", "/")):
        path = text.removeprefix("unix://")
        if not path.startswith("/"):
            raise ValueError("a unix socket is written unix:///absolute/path")
        return "", 0, path
    match = _HOST_PORT.fullmatch(text)
    if match is None or not 0 < int(match["port"]) < 65_536:
        raise ValueError("it is written host:port, [::1]:6379 for IPv6, or unix:///path")
    if match["v6"]:
        ipaddress.IPv6Address(match["v6"])
    return match["v6"] or match["name"], int(match["port"]), ""


_HOST_PORT = re.compile(
    r"(\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9._-]+)):(?P<port>[0-9]{1,5})"
)


def _parts(secret: SecretStr) -> tuple[str, ...]:
    """Split a comma separated list; commas at its ends and spaces around its parts are ignored."""
    return tuple(part.strip() for part in secret.get_secret_value().strip(", ").split(","))


def _user_data_dir() -> Path:
    """Return the user's data folder; without a home folder, a path that `absolute` refuses."""
    try:
        return Path(platformdirs.user_data_dir("seen"))
    except RuntimeError:
        return Path("~/.local/share/seen")


def absolute(path: Path) -> Path:
    """Return an absolute path; ``~`` is the home folder.

    Raises:
        ValueError: the home folder or the current folder is unknown, or the path is not UTF-8.
    """
    try:
        found = path.expanduser()
    except RuntimeError:
        user = f"HOME is not set, and user {os.getuid()}" if path.parts[0] == "~" else path.parts[0]
        raise ValueError(
            f"the home folder is unknown: {user} is not in the user database"
        ) from None
    if path.parts[:1] == ("~",) and not found.is_absolute():
        raise ValueError(f"the home folder is not absolute: HOME={found.parts[0]!r}")
    try:
        found = found.absolute()
        str(found).encode()
    except OSError as error:
        raise ValueError(f"it is relative, and the current folder: {error.strerror}") from None
    except UnicodeEncodeError:
        raise ValueError("the path is not UTF-8") from None
    return found


def _check_listening_address(text: str) -> str:
    """Return an IP address without brackets, or a host name."""
    address = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        ipaddress.ip_address(address)
    except ValueError:
        if address != text or not _HOST_NAME.fullmatch(text):
            raise ValueError(
                "it is an IP address or a host name; the port has a variable of its own"
            ) from None
    return address


#: As browsers send it: without a path. A scheme of extensions may allow all of them.
_ORIGIN = re.compile(r"\*|null|[A-Za-z][A-Za-z0-9+.-]*://(\*|[^/?#@\s*]+)")
#: Not a number with dots, which would be a mistyped address.
_HOST_NAME = re.compile(r"(?![0-9.]+$)[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")


@lru_cache(maxsize=1)
def load() -> Settings:
    """Read the environment once a process.

    Raises:
        SettingsError: names every wrong variable, its value (secrets masked) and the valid values.
    """
    _refuse_undecodable()
    try:
        found = Settings()
    except ValidationError as error:
        raise SettingsError("\n".join(_explain(error))) from None
    for name, former in FORMER_NAMES.items():
        if _value_of(former):
            _warn_of_former_name(_variable(former), _variable(name), bool(_value_of(name)))
    for text in unknown_variables():
        _warn_of_unknown_name(text)
    return found


def _refuse_undecodable() -> None:
    """Raise SettingsError for variables whose bytes are not UTF-8: Python has surrogates for them."""
    wrong = [
        name
        for name in _variables()
        if name.upper() in _known_variables() and not _is_text(os.environ[name])
    ]
    if wrong:
        raise SettingsError(
            "\n".join(f"{name} is not valid: it is not UTF-8 text." for name in wrong)
        )


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _variables() -> list[str]:
    """Return the names of all variables that look like settings."""
    return sorted(name for name in os.environ if name.upper().startswith(PREFIX))


def unknown_variables() -> list[str]:
    """Return a sentence for each variable that is named like a setting and is none."""
    known = _known_variables()
    return [
        _unknown(name, known)
        for name in _variables()
        if name.upper() not in known and not name.upper().startswith(_TESTS_PREFIX)
    ]


@cache
def _known_variables() -> frozenset[str]:
    fields = Settings.model_fields.items()
    files = {_variable(file_field(name)) for name, field in fields if is_secret(field)}
    names = (*Settings.model_fields, *FORMER_NAMES.values())
    return frozenset({*map(_variable, names), *files})


#: Variables of the tests, which are no settings.
_TESTS_PREFIX = f"{PREFIX}TEST_"


def _unknown(name: str, known: frozenset[str]) -> str:
    names = sorted(one.removeprefix(PREFIX) for one in known)
    near = get_close_matches(name.upper().removeprefix(PREFIX), names, n=1, cutoff=0.75)
    remedy = (
        f"Did you mean {PREFIX}{near[0]}?" if near else "docs/configuration.md lists all settings."
    )
    return f"{name[:_SHOWN]} is not a setting and has no effect. {remedy}"


@cache
def _warn_of_unknown_name(text: str) -> None:
    """Log once a process that a variable has no effect."""
    logger.warning("%s", escaped(text), extra={"event": "settings.unknown_variable"})


@cache
def _warn_of_former_name(former: str, present: str, both: bool) -> None:
    """Log once a process that a variable has another name now."""
    effect = f"{present} is set, too, and {former} is ignored" if both else "it still works"
    logger.warning("%s is now called %s; %s. Rename it.", former, present, effect)


def _explain(error: ValidationError) -> list[str]:
    lines = []
    for problem in error.errors():
        message = requirement(problem)
        if not problem["loc"]:
            lines.append(f"{message}.")
            continue
        name = str(problem["loc"][0])
        field = Settings.model_fields[name]
        if isinstance(problem.get("ctx", {}).get("error"), _SecretFileError):
            lines.append(f"{message}. Its meaning: {field.description}")
            continue
        variable = _variable(_name_in_use(name))
        if _value_of(_name_in_use(name)):
            wrong = f"{variable}={_shown(name)} is not valid: {message}"
        else:
            wrong = f"{variable} has no default, because {message}"
        lines.append(f"{wrong}. Its meaning: {field.description}")
    return lines


#: Characters of a wrong value that the error shows.
_SHOWN = 200


def _shown(name: str) -> str:
    if _value_of(file_field(name)):
        return _shown_path(_value_of(file_field(name)))
    if is_secret(Settings.model_fields[name]):
        return "'***'"
    return _masked(_value_of(_name_in_use(name)))


def _shown_path(path: str) -> str:
    """Return the path of a secret's file, masked if it may be the secret itself."""
    # A secret may have a slash, too, but hardly begins with the name of a folder that exists.
    folder = path.rpartition("/")[0]
    is_path = path.startswith(("/", "./", "../", "~/")) or (folder and os.path.isdir(folder))  # noqa: PTH112
    return _masked(path) if is_path else "'***'"


def _masked(value: str) -> str:
    # A URL is wrong in any of these, and may carry a password all the same.
    shown = re.sub(r"(?<![^/\s])[^/\s]*@", "***@", value)
    return repr(shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…")


def _name_in_use(name: str) -> str:
    """Return the former name of a field if its variable is set by that name alone, or its file's."""
    if is_secret(Settings.model_fields[name]) and _value_of(file_field(name)):
        return file_field(name)
    former = FORMER_NAMES.get(name)
    return former if former and _value_of(former) and not _value_of(name) else name


def _value_of(name: str) -> str:
    """Return the variable of a field, "" without one. Case is ignored, and an exact name goes first."""
    variables = {key.upper(): value for key, value in os.environ.items()}
    return os.environ.get(_variable(name), variables.get(_variable(name), ""))


#: Where OpenTelemetry sends traces.
_OTEL_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


@cache
def _can_trace() -> bool:
    """Return whether the packages of the extra `tracing` are installed."""
    try:
        return all(map(find_spec, ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")))
    except ModuleNotFoundError:
        return False


def log_format() -> str:
    """Return SEEN_LOG_FORMAT as it is set, also where `load` finds wrong variables; "" without one."""
    return _value_of("log_format")


def _variable(field: str) -> str:
    return f"{PREFIX}{field.upper()}"
