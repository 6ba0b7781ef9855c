"""Connections to the store, and the translation of redis-py's errors into this project's."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Any

import redis
import redis.asyncio
from redis.backoff import NoBackoff
from redis.exceptions import (
    ConnectionError,
    InvalidResponse,
    NoScriptError,
    RedisError,
    ResponseError,
    TimeoutError,
)
from redis.maint_notifications import MaintNotificationsConfig
from redis.retry import Retry

from cache.keys import redacted
from cache.store.flow import Argument, Command
from cache.store.refusals import find_refusal, server_message
from domain.errors import StoreRefusesError, StoreReplyError, StoreUnavailableError
from settings import Settings, parse_addr

#: Well below the idle timeouts of common load balancers, so that a dead connection is noticed early.
HEALTH_CHECK_SECONDS = 25
#: Connections that one pool may open: one for each thread or task that waits for a reply.
MAX_CONNECTIONS = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeoutPolicy:
    """The timeouts and retries of one round trip.

    Attributes:
        timeout: seconds to wait for the next byte of a reply.
        connect_timeout: seconds to wait for a connection.
        retries: how often a round trip is retried, unless its batch says `once`.
        retry_timeouts: retry after a timeout as well as after a broken connection.
    """

    timeout: float
    connect_timeout: float
    retries: int
    retry_timeouts: bool


def reliable_policy(settings: Settings, retries: int = 2) -> TimeoutPolicy:
    """Return the policy for locks, progress and maintenance: retry, and wait for the full timeout."""
    return TimeoutPolicy(
        timeout=settings.cache_timeout,
        connect_timeout=settings.cache_connect_timeout,
        retries=retries,
        retry_timeouts=True,
    )


def fail_fast_policy(settings: Settings) -> TimeoutPolicy:
    """Return the policy for cached values: one attempt, at most `cache_budget` seconds.

    The one retry replaces a connection that the server has closed; it costs no waiting.
    """
    budget = min(settings.cache_budget, settings.cache_timeout)
    return TimeoutPolicy(
        timeout=budget,
        connect_timeout=budget,
        retries=1,
        retry_timeouts=False,
    )


def sync_client(settings: Settings, policy: TimeoutPolicy, *, protocol: int = 2) -> redis.Redis:
    """Return a blocking client. It connects at its first command and does not retry by itself."""
    return redis.Redis(**_options(settings, policy, protocol), retry=Retry(NoBackoff(), 0))


def async_client(settings: Settings, policy: TimeoutPolicy) -> redis.asyncio.Redis:
    """Return an asyncio client. It connects at its first command and does not retry by itself."""
    retry = redis.asyncio.retry.Retry(NoBackoff(), 0)
    return redis.asyncio.Redis(**_options(settings, policy, 2), retry=retry)


def _options(settings: Settings, policy: TimeoutPolicy, protocol: int) -> dict[str, Any]:
    host, port, path = parse_addr(settings.cache_addr)
    where: dict[str, Any] = {"unix_socket_path": path} if path else {"host": host, "port": port}
    if settings.cache_tls:
        where |= {
            "ssl": True,
            "ssl_ca_certs": str(settings.cache_tls_ca) if settings.cache_tls_ca else None,
            "ssl_cert_reqs": "required" if settings.cache_tls_verify else "none",
            "ssl_check_hostname": settings.cache_tls_verify,
        }
    return {
        **where,
        "db": settings.cache_db,
        "username": settings.cache_username or None,
        "password": settings.cache_password.get_secret_value() or None,
        "socket_timeout": policy.timeout,
        "socket_connect_timeout": policy.connect_timeout,
        "health_check_interval": HEALTH_CHECK_SECONDS,
        "max_connections": MAX_CONNECTIONS,
        # Dragonfly, Redis 6.2 and Valkey agree on RESP2; only invalidation messages need RESP3.
        "protocol": protocol,
        # A handshake that only some hosted servers know; others answer it with an error.
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
    }


class translate_store_errors:  # noqa: N801 - reads as a statement: `with translate_store_errors():`
    """Raises StoreUnavailableError for a missing reply or a refusal; other errors pass unchanged."""

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None and is_unavailable(error):
            raise unavailable_error(error) from error


def is_unavailable(error: BaseException) -> bool:
    """Return whether the server does not answer, or refuses to serve (`cache.store.refusals`)."""
    if isinstance(error, ConnectionError | TimeoutError | InvalidResponse):
        return True
    return isinstance(error, RedisError) and find_refusal(error) is not None


def reply_error(error: Exception, command: Command) -> Exception:
    """Return the error to raise for a command's error reply.

    That is StoreUnavailableError when the server cannot serve, and StoreReplyError, which names the
    command and its key, for other refusals. NOSCRIPT is returned unchanged: its caller sends the script.
    """
    if isinstance(error, NoScriptError) or not isinstance(error, ResponseError):
        return unavailable_error(error) if is_unavailable(error) else error
    if is_unavailable(error):
        return unavailable_error(error)
    keyed = command[3:4] if command[0] in ("EVALSHA", "EVAL") else command[1:2]
    what = " ".join([str(command[0]), *(redacted(_as_text(key)) for key in keyed)])
    problem = f"The store refused {what}: {error}"
    if "WRONGTYPE" in problem:
        problem += ". Another program wrote this key: delete it, or use another namespace."
    return StoreReplyError(problem)


def _as_text(key: Argument) -> str:
    return key.decode(errors="replace") if isinstance(key, bytes) else str(key)


def unavailable_error(error: BaseException) -> StoreUnavailableError:
    """Return the StoreUnavailableError for an error of redis-py."""
    refusal = find_refusal(error)
    if refusal is None:
        if isinstance(error, InvalidResponse):
            return StoreUnavailableError(f"What answers is no Dragonfly, Redis or Valkey: {error}.")
        return StoreUnavailableError(f"The store does not answer: {str(error).rstrip('.')}.")
    return StoreRefusesError(server_message(error), refusal.remedy)
