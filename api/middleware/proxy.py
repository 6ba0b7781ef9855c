"""What trusted proxies say of the client: its address, and whether it came by https."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address

#: WebSockets have schemes of their own; proxies say with which of HTTP they came.
_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
#: One `name=value` of the header Forwarded (RFC 7239), up to the next separator.
_PAIR = re.compile(r'\s*([A-Za-z]{1,10})=(?:"([^"\\]*)"|([^\s";,]*))\s*(;|,|$)')
_WITH_PORT = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::\d{1,5})?|([\d.]+):\d{1,5}")
#: Of the addresses in a header, so many at its end are read: no chain of proxies is longer.
_MOST = 20


class Client(NamedTuple):
    """The other end of a request, as far as it is known.

    Attributes:
        address: an IP address.
        scheme: http or https.
    """

    address: str
    scheme: str


class _Hop(NamedTuple):
    """What one proxy says of its client; None or "" where it says nothing that can be read."""

    address: _Address | None
    scheme: str


class ProxyHeaders:
    """Replaces address and scheme of a request by what trusted proxies say; others are not believed.

    Args:
        app: what serves the request.
        trusted: networks of the proxies.
    """

    def __init__(self, app: ASGIApp, trusted: Iterable[str]) -> None:
        self._app = app
        self._trusted = [ipaddress.ip_network(network) for network in trusted]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request with the client's own address and scheme."""
        if scope["type"] != "lifespan" and scope.get("client") and self._trusted:
            peer = Client(scope["client"][0], _SCHEMES.get(scope.get("scheme", ""), "http"))
            found = self.client(peer, Headers(scope=scope))
            scope = {**scope, "client": (found.address, 0), "scheme": found.scheme}
        await self._app(scope, receive, send)

    def client(self, peer: Client, headers: Headers) -> Client:
        """Return the client of a request.

        Args:
            peer: the other end of the connection.
            headers: of the request.
        """
        if not self._is_trusted(_address(peer.address)):
            return peer
        chains = [chain for chain in (_x_forwarded(headers), _forwarded(headers)) if chain]
        # A proxy passes on the header that it does not set, as a client has sent it. Where both are
        # there and differ, one of them is forged.
        clients = {self._followed(peer, chain) for chain in chains}
        return clients.pop() if len(clients) == 1 else peer

    def _followed(self, peer: Client, chain: Sequence[_Hop]) -> Client:
        """Return the first address that is no trusted proxy's, from the nearest proxy on."""
        client = peer
        for hop in reversed(chain):
            if hop.address is None:
                break
            client = Client(str(hop.address), hop.scheme or peer.scheme)
            if not self._is_trusted(hop.address):
                break
        return client

    def _is_trusted(self, address: _Address | None) -> bool:
        return address is not None and any(address in network for network in self._trusted)


def _x_forwarded(headers: Headers) -> list[_Hop]:
    """Return what X-Forwarded-For says, the nearest proxy last, with the one X-Forwarded-Proto."""
    schemes = headers.getlist("x-forwarded-proto")
    scheme = _scheme(schemes[0]) if len(schemes) == 1 else ""
    addresses = ",".join(headers.getlist("x-forwarded-for")).split(",")[-_MOST:]
    return [_Hop(_address(one), scheme) for one in addresses] if any(addresses) else []


def _forwarded(headers: Headers) -> list[_Hop]:
    """Return what Forwarded says, the nearest proxy last."""
    text = ",".join(headers.getlist("forwarded"))
    if not text:
        return []
    hops: list[dict[str, str]] = [{}]
    position = 0
    while position < len(text):
        found = _PAIR.match(text, position)
        if found is None:
            return [_Hop(None, "")]  # of a header that cannot be parsed nothing is believed
        hops[-1].setdefault(found[1].lower(), found[2] or found[3] or "")
        if found[4] == ",":
            hops.append({})
        position = found.end()
    return [_Hop(_address(one.get("for", "")), _scheme(one.get("proto", ""))) for one in hops][
        -_MOST:
    ]


def _scheme(text: str) -> str:
    scheme = text.strip().lower()
    return scheme if scheme in {"http", "https"} else ""


def _address(text: str) -> _Address | None:
    """Return the IP address of a text, which may have a port; None if it is none."""
    found = _WITH_PORT.fullmatch(text.strip())
    plain = (found[1] or found[2]) if found else text.strip()
    try:
        address = ipaddress.ip_address(plain.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
