"""What this machine's network can do."""

from __future__ import annotations

import socket


def has_ipv6() -> bool:
    """Say whether there is an IPv6 loopback to listen at."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True
