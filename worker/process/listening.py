"""Whether a server can listen on an address: an IP address or a host name."""

from __future__ import annotations

import errno
import os
import socket


def refusal(address: str, port: int) -> OSError | None:
    """Return why a server cannot listen there; None if it can."""
    try:
        for family, _, _, _, where in _resolve(address, port):
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind(where)
    except OSError as error:
        return error
    return None


def is_in_use(error: OSError) -> bool:
    """Return whether another port would do."""
    return error.errno == errno.EADDRINUSE


def explain(address: str, port: int, error: OSError, *, server: str = "FLOWER") -> str:
    """Return a sentence about a refusal, with the variable of FLOWER or API to correct."""
    if is_in_use(error):
        return f"Port {port} is in use. Set SEEN_{server}_PORT."
    if isinstance(error, PermissionError):
        return f"User {os.getuid()} may not listen on port {port}. Set SEEN_{server}_PORT."
    if error.errno == errno.EADDRNOTAVAIL:
        return f"SEEN_{server}_ADDRESS={address} is not an address of this machine."
    return f"SEEN_{server}_ADDRESS={address} cannot be used: {error.strerror}."


def listen(address: str, port: int) -> socket.socket:
    """Return a socket that listens there; raises OSError as `refusal` returns it."""
    family, _, _, _, where = _resolve(address, port)[0]
    # With its protocol: asyncio turns Nagle's algorithm off only for sockets that name TCP. With it, an
    # answer in two parts would wait 40 ms for the acknowledgement of the first.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(where)
        listener.listen(1024)
    except BaseException:
        listener.close()
        raise
    return listener


def free_port(address: str) -> int:
    """Return a free port; raises OSError as `refusal` returns it."""
    family, _, _, _, where = _resolve(address, 0)[0]
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.bind(where)
        return int(probe.getsockname()[1])


def url(address: str, port: int) -> str:
    """Return the URL of a server that listens there."""
    host = f"[{address}]" if ":" in address else address
    return f"http://{host}:{port}/"


def _resolve(address: str, port: int) -> list[tuple[int, int, int, str, tuple[object, ...]]]:
    return socket.getaddrinfo(  # type: ignore[return-value]
        address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
