"""What the routes of one process share. Nothing in it is state: several processes serve one API."""

from __future__ import annotations

import asyncio
import ipaddress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Request
from starlette.types import Scope

from settings import Settings
from tasks.api.readiness import Readiness
from worker.loop.calls import CallThreads
from worker.runtime import Runtime

#: Where aria2's JSON-RPC is, if SEEN_ARIA2_RPC is set: `api.rpc`.
RPC_PATH = "/jsonrpc"
#: Messages of it that a process does at once: fewer than it has threads.
RPC_TURNS = 5
#: Threads for sign-ins and submits, beside those that Starlette has for all other routes.
SUBMIT_THREADS = 8
#: Names of this machine, which no other machine's page can have in its address.
_LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpLimits:
    """How much a request may send, and how long it may take to.

    Attributes:
        body_bytes: of a body; 1,000 long URLs with mirrors fit.
        bodies_bytes: of all bodies of requests that a process has in hand together; those of one
            address have half of it.
        small_body_bytes: up to here a body is not counted, so that large ones do not lock others out.
            What all connections may send so is bounded by their number.
        body_seconds: until a body is complete.
        header_seconds: until the headers are complete, counted from the connection or the last response.
        socket_bytes: of a message of a WebSocket: as aria2's `--rpc-max-request-size`.
        sockets_bytes: of all such messages that a process has in hand together; small ones as bodies.
    """

    body_bytes: int = 8 * 2**20
    bodies_bytes: int = 32 * 2**20
    small_body_bytes: int = 16 * 2**10
    body_seconds: float = 30.0
    header_seconds: float = 15.0
    socket_bytes: int = 2 * 2**20
    sockets_bytes: int = 32 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The runtime, and what follows from the settings.

    Attributes:
        runtime: of this process.
        hosts: the names in lower case under which the API may be called, beside IP addresses.
        readiness: whether the service can work.
        is_secure: whether all callers reach it by https, so that cookies are for https alone.
        limits: of requests.
        rpc_origins: of pages that may call aria2's JSON-RPC, as in SEEN_ARIA2_RPC_ORIGINS.
        rpc_turns: messages of aria2's JSON-RPC that a process does at once. One can have 1,000 calls,
            and other requests need threads meanwhile.
        threads: for what every request or a submit waits for: a call in one of Starlette's threads
            takes four times as much processor time.
    """

    runtime: Runtime
    hosts: frozenset[str]
    is_secure: bool
    readiness: Readiness
    limits: HttpLimits = HttpLimits()
    rpc_origins: frozenset[str] = frozenset()
    rpc_turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(RPC_TURNS))
    threads: CallThreads = field(default_factory=lambda: CallThreads(SUBMIT_THREADS, "submit"))

    @classmethod
    def of(cls, runtime: Runtime, limits: HttpLimits | None = None) -> Services:
        """Return those of a process."""
        settings = runtime.settings
        url = urlsplit(settings.api_url)
        return cls(
            runtime=runtime,
            hosts=_hosts(settings),
            is_secure=url.scheme == "https",
            readiness=Readiness(runtime),
            limits=limits or HttpLimits(),
            rpc_origins=frozenset(settings.aria2_rpc_origins if settings.aria2_rpc else ()),
        )

    def is_secure_request(self, scope: Scope) -> bool:
        """Return whether the caller of a request has come by https, as far as that is known."""
        return self.is_secure or scope.get("scheme") in {"https", "wss"}

    def is_own_host(self, authority: str) -> bool:
        """Return whether a Host header names this API.

        An IP address always does: a page of another site cannot have one as its own name, which is what
        an attack by DNS rebinding needs.
        """
        host = host_of_authority(authority)
        return host is not None and (host in self.hosts or _is_address(host))

    def allows_rpc_origin(self, origin: str) -> bool:
        """Return whether pages of an origin may call aria2's JSON-RPC.

        No cookie counts there: who has no token of its own reaches nothing.
        """
        scheme = origin.partition("://")[0]
        return not self.rpc_origins.isdisjoint({"*", origin.lower(), f"{scheme.lower()}://*"})


def _hosts(settings: Settings) -> frozenset[str]:
    named = {settings.api_address, urlsplit(settings.api_url).hostname or "", *settings.api_hosts}
    return _LOCAL_NAMES | {name.lower().rstrip(".") for name in named if name}


@lru_cache(maxsize=256)  # most requests have the same few
def host_of_authority(authority: str) -> str | None:
    """Return the host of ``host:port`` in lower case; None if it cannot be parsed."""
    if not authority or set(authority) & set("/\\?#@ ,"):
        return None
    if authority.rpartition("]")[2][:1] not in {"", ":"} and "]" in authority:
        return None  # a name after an address: `urlsplit` leaves it out
    try:
        parts = urlsplit(f"//{authority}")
        _ = parts.port  # raises if it is no number
    except ValueError:
        return None
    return (parts.hostname or "").rstrip(".") or None


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


async def _services(request: Request) -> Services:  # on the loop: a thread would cost more
    found: Services = request.app.state.services
    return found


#: As a parameter of a route.
TheServices = Annotated[Services, Depends(_services)]
