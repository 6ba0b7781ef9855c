"""How we talk to the store: one client configuration, and its errors told in our own words."""

from __future__ import annotations

import re
from types import TracebackType
from typing import Any

import redis
from redis.backoff import ExponentialWithJitterBackoff, NoBackoff
from redis.exceptions import (
    BusyLoadingError,
    ConnectionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    TimeoutError,
)
from redis.retry import Retry

from domain.errors import StoreUnavailableError
from settings import Settings, parse_addr

#: Kept well below common load balancers' idle limits, so that a dead peer is noticed in time.
HEALTH_CHECK_SECONDS = 25

_UNAVAILABLE = (ConnectionError, TimeoutError, BusyLoadingError, OutOfMemoryError, ReadOnlyError)

#: How a server says that it is there but cannot serve. A pipeline and a script put words before it.
_REFUSAL = re.compile(
    r"(^|: -?)(MISCONF|OOM|LOADING|READONLY|MASTERDOWN|BUSY|Out of memory)\b|EXECABORT.*because of: OOM"
)


def connect(settings: Settings, *, retries: int = 2) -> redis.Redis:
    """Return a client for the cache database; it connects at its first command.

    Args:
        retries: how often redis-py may repeat a command whose answer did not come. 0 for callers that
            repeat by themselves, such as the progress flusher.
    """
    host, port, path = parse_addr(settings.cache_addr)
    where: dict[str, Any] = {"unix_socket_path": path} if path else {"host": host, "port": port}
    if settings.cache_tls:
        where |= {
            "ssl": True,
            "ssl_ca_certs": str(settings.cache_tls_ca) if settings.cache_tls_ca else None,
            "ssl_cert_reqs": "required" if settings.cache_tls_verify else "none",
            "ssl_check_hostname": settings.cache_tls_verify,
        }
    backoff = ExponentialWithJitterBackoff(base=0.02, cap=0.2) if retries else NoBackoff()
    return redis.Redis(
        **where,
        db=settings.cache_db,
        username=settings.cache_username or None,
        password=settings.cache_password.get_secret_value() or None,
        socket_timeout=settings.cache_timeout,
        socket_connect_timeout=settings.cache_connect_timeout,
        health_check_interval=HEALTH_CHECK_SECONDS,
        retry=Retry(backoff, retries),
        # RESP2 is spoken alike by Dragonfly, Redis 6.2 and Valkey; nothing here needs more.
        protocol=2,
    )


def without_retries(client: redis.Redis) -> redis.Redis:
    """Return a client of the same store, with connections of its own, that tries everything once.

    For commands that must not run twice: redis-py repeats one whose answer got lost, and the server may
    have run it already.
    """
    pool = client.connection_pool
    options = {**pool.connection_kwargs, "retry": Retry(NoBackoff(), 0)}
    return redis.Redis.from_pool(redis.ConnectionPool(pool.connection_class, **options))


class store_errors:  # noqa: N801 - reads as a statement: `with store_errors():`
    """Turns redis-py's "no answer" errors into StoreUnavailableError; a wrong command stays an error."""

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, _UNAVAILABLE) or _is_refusal(error):
            raise StoreUnavailableError(f"The store does not answer: {error}") from error


def _is_refusal(error: BaseException | None) -> bool:
    """Say whether the server answers but cannot serve, such as MISCONF (its disk is full) or OOM."""
    if not isinstance(error, RedisError):
        return False
    return _REFUSAL.search(str(error)) is not None
