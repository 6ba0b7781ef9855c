"""Addresses that are not public by IANA's registries, and those of cloud metadata services.

The tables of Python's `ipaddress` are not used: they vary by version and lack some of these networks.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

#: The IANA IPv4 Special-Purpose Address Registry, line by line, and multicast. Networks that are
#: globally reachable (AS112, AMT) are included: none of them serves files.
_IPV4 = (
    "0.0.0.0/8",  # this network
    "10.0.0.0/8",  # private use
    "100.64.0.0/10",  # shared by a carrier's customers
    "127.0.0.0/8",  # loopback
    "169.254.0.0/16",  # link-local
    "172.16.0.0/12",  # private use
    "192.0.0.0/24",  # IETF protocol assignments
    "192.0.2.0/24",  # documentation
    "192.31.196.0/24",  # AS112, answered by local networks
    "192.52.193.0/24",  # AMT
    "192.88.99.0/24",  # 6to4 relays, deprecated
    "192.168.0.0/16",  # private use
    "192.175.48.0/24",  # AS112
    "198.18.0.0/15",  # benchmarks
    "198.51.100.0/24",  # documentation
    "203.0.113.0/24",  # documentation
    "224.0.0.0/4",  # multicast
    "240.0.0.0/4",  # reserved, and limited broadcast
)

#: Public IPv6 addresses are assigned from 2000::/3 only. Everything else is refused as a whole:
#: ::/96, ::ffff:0:0/96, 64:ff9b:1::/48, 100::/64, 100:0:0:1::/64, 5f00::/16, fc00::/7, fe80::/10,
#: fec0::/10, ff00::/8, and unassigned ones. (64:ff9b::/96 is checked by its IPv4 address.)
_IPV6_OUTSIDE = ("::/3", "4000::/2", "8000::/1")
#: The entries of the IANA IPv6 Special-Purpose Address Registry inside 2000::/3.
_IPV6 = (
    "2001::/23",  # IETF protocol assignments: Teredo, benchmarks, ORCHID, drone identifiers, and others
    "2001:db8::/32",  # documentation
    "2002::/16",  # 6to4; public relays are gone, a private tunnel could lead inside
    "2620:4f:8000::/48",  # AS112
    "3fff::/20",  # documentation
)
NOT_PUBLIC: tuple[Network, ...] = tuple(map(ipaddress.ip_network, (*_IPV4, *_IPV6_OUTSIDE, *_IPV6)))

#: Metadata services, which give credentials to any process inside a cloud. An allowed network that
#: contains one does not allow it; only its own address does.
METADATA: frozenset[Address] = frozenset(
    map(
        ipaddress.ip_address,
        (
            "169.254.169.254",  # AWS, Azure, Google, Oracle, OpenStack, and others
            "fe80::a9fe:a9fe",  # OpenStack
            "fd00:ec2::254",  # AWS
            "169.254.170.2",  # AWS: tasks of ECS
            "169.254.170.23",  # AWS: pods of EKS
            "fd00:ec2::23",  # AWS: pods of EKS
            "fd20:ce::254",  # Google
            "168.63.129.16",  # Azure
            "192.0.0.192",  # Oracle
            "100.100.100.200",  # Alibaba
            "169.254.0.23",  # Tencent
            "169.254.42.42",  # Scaleway
            "fd00:42::42",  # Scaleway
        ),
    )
)

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_LOCAL_NAT64 = ipaddress.IPv6Network("64:ff9b:1::/48")
_COMPATIBLE = ipaddress.IPv6Network("::/96")


def routed_ipv4(ip: Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address that an IPv6 address is routed to: IPv4-mapped or NAT64 (RFC 6052)."""
    if isinstance(ip, ipaddress.IPv6Address):
        return ip.ipv4_mapped or (_last_bits(ip) if ip in _NAT64 else None)
    return None


def embedded_ipv4(ip: Address) -> Iterator[ipaddress.IPv4Address]:
    """Yield the IPv4 addresses that a gateway could read from inside an IPv6 address."""
    if not isinstance(ip, ipaddress.IPv6Address):
        return
    if ip in _COMPATIBLE or ip in _LOCAL_NAT64:
        yield _last_bits(ip)
    if ip in _LOCAL_NAT64:
        # RFC 6052, section 2.2: after a 48-bit prefix the address surrounds eight reserved bits.
        yield ipaddress.IPv4Address((int(ip) >> 64 & 0xFFFF) << 16 | int(ip) >> 40 & 0xFFFF)
    if ip.sixtofour is not None:
        yield ip.sixtofour
    if ip.teredo is not None:
        yield from ip.teredo


def _last_bits(ip: ipaddress.IPv6Address) -> ipaddress.IPv4Address:
    return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
