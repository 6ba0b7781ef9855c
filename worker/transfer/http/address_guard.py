"""Decides which addresses a download may connect to."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from domain.hosts import HostError, normal_host
from worker.transfer.http.special_addresses import (
    METADATA,
    NOT_PUBLIC,
    Address,
    embedded_ipv4,
    routed_ipv4,
)


class AddressGuard:
    """Allows public addresses, and those in explicitly allowed networks.

    It checks the address of every socket before it connects, redirects included, so a name that
    resolves to a private address is refused at any time.
    """

    def __init__(self, allowed_networks: Iterable[str] = ()) -> None:
        self._allowed = [ipaddress.ip_network(network) for network in allowed_networks]

    def allows_host(self, host: str) -> bool:
        """Return whether `host` may be requested through a proxy.

        The proxy resolves names itself, so only a literal address can be checked here, in any spelling.
        """
        try:
            name = normal_host(host)
        except HostError:
            return False
        try:
            return self.allows(name)
        except ValueError:
            return True  # a name

    def allows(self, address: str) -> bool:
        """Return whether `address` (IPv4 or IPv6, without port) may be connected to.

        Raises:
            ValueError: `address` is not an IP address.
        """
        literal = ipaddress.ip_address(address.partition("%")[0])
        ip = routed_ipv4(literal) or literal
        metadata = METADATA & {ip, *embedded_ipv4(ip)}
        if metadata:
            return any(self._is_listed_alone(one) for one in {ip, *metadata})
        if any(ip in network for network in self._allowed):
            return True
        return not any(ip in network for network in NOT_PUBLIC)

    def _is_listed_alone(self, ip: Address) -> bool:
        """Return whether an allowed network is exactly this address; a larger network is not enough."""
        return any(ip in network and network.num_addresses == 1 for network in self._allowed)
