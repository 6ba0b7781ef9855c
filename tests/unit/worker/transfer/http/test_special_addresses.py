"""Which addresses may be downloaded from: the public ones, and those that are named."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.transfer.http.address_guard import AddressGuard

PUBLIC = [
    "8.8.8.8",
    "93.184.216.34",
    "100.63.255.255",
    "172.32.0.1",
    "2606:2800:220:1:248:1893:25c8:1946",
    "2a00:1450:4001::1",
    "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8",
]

NOT_PUBLIC = [
    "127.0.0.1",
    "127.255.255.254",
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "100.64.0.1",
    "169.254.169.254",
    "192.0.2.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "fc00::1",
    "fd00:ec2::254",
    "ff02::1",
    "2001:db8::1",
    "2001::1",
    "100::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::127.0.0.1",
    "64:ff9b::10.0.0.1",
    "64:ff9b::169.254.169.254",
    "64:ff9b:1::10.0.0.1",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::1",
    "2002:0a00:0001::1",
    "2002:808:808::1",
    # public, but used only by a cloud's own machines
    "168.63.129.16",
    "::ffff:168.63.129.16",
    "192.0.0.192",
    "100.100.100.200",
    "fd20:ce::254",
]

METADATA = [
    *("169.254.169.254", "168.63.129.16", "100.100.100.200", "192.0.0.192"),
    *("169.254.170.2", "169.254.170.23", "169.254.0.23", "169.254.42.42"),
]


#: IANA's registries of special-purpose addresses, and what else is no public unicast address.
SPECIAL = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.0.0/29",
    "192.0.0.8/32",
    "192.0.0.9/32",
    "192.0.0.10/32",
    "192.0.0.170/31",
    "192.0.2.0/24",
    "192.31.196.0/24",
    "192.52.193.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "192.175.48.0/24",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "255.255.255.255/32",
    "::/128",
    "::1/128",
    "::/96",
    "::ffff:0:0:0/96",
    "64:ff9b:1::/48",
    "100::/64",
    "100:0:0:1::/64",
    "2001::/23",
    "2001::/32",
    "2001:1::1/128",
    "2001:1::2/128",
    "2001:1::3/128",
    "2001:2::/48",
    "2001:3::/32",
    "2001:4:112::/48",
    "2001:10::/28",
    "2001:20::/28",
    "2001:30::/28",
    "2001:db8::/32",
    "2002::/16",
    "2620:4f:8000::/48",
    "3fff::/20",
    "5f00::/16",
    "fc00::/7",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
    "4000::/3",
    "8000::/1",
]

#: Directly before and after the lines above: assigned addresses.
BESIDE = [
    "1.0.0.0",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "169.253.255.255",
    "169.255.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "191.255.255.255",
    "192.0.1.0",
    "192.0.3.0",
    "192.88.98.255",
    "192.88.100.0",
    "192.167.255.255",
    "192.169.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "198.51.99.255",
    "198.51.101.0",
    "203.0.112.255",
    "203.0.114.0",
    "223.255.255.255",
    "2000::1",
    "2001:200::1",
    "2001:db7:ffff::1",
    "2001:db9::1",
    "2003::1",
    "3ffe::1",
    "3fff:1000::1",
]


@pytest.mark.parametrize("line", SPECIAL)
def test_special_purpose_addresses_are_refused(line: str) -> None:
    network = ipaddress.ip_network(line)
    for address in (network[0], network[network.num_addresses // 2], network[-1]):
        assert not AddressGuard().allows(str(address))


@pytest.mark.parametrize("address", BESIDE)
def test_what_lies_beside_them_is_allowed(address: str) -> None:
    assert AddressGuard().allows(address)


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("example.org", True),
        ("8.8.8.8", True),
        ("[2606:2800:220:1::]", True),
        ("134744072", True),
        ("127.1", False),
        ("0x7f.1", False),
        ("2852039166", False),
        ("%31%36%39.254.169.254", False),
        ("169.254.169.254.", False),
        ("169。254。169。254", False),
        ("[::ffff:a9fe:a9fe]", False),
        ("::1", False),
        ("[fe80::1%25eth0]", False),
        ("", False),
        ("a b", False),
        ("127.0.0.256", False),
    ],
)
def test_a_host_is_judged_by_the_address_that_it_spells(host: str, allowed: bool) -> None:
    """Behind a proxy nothing else can be judged."""
    assert AddressGuard().allows_host(host) is allowed


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_allowed(address: str) -> None:
    assert AddressGuard().allows(address)


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_an_address_that_is_not_public_is_refused(address: str) -> None:
    assert not AddressGuard().allows(address)


@pytest.mark.parametrize(
    ("networks", "address", "allowed"),
    [
        (["127.0.0.0/8"], "127.0.0.1", True),
        (["127.0.0.0/8"], "::ffff:127.0.0.1", True),
        (["127.0.0.0/8"], "10.0.0.1", False),
        (["127.0.0.0/8"], "::1", False),
        (["127.0.0.0/8"], "8.8.8.8", True),
        (["10.0.0.0/8", "fd00::/8"], "fd00::1", True),
        (["10.0.0.0/8", "fd00::/8"], "10.255.0.1", True),
        (["10.0.0.5/32"], "10.0.0.6", False),
        (["fe80::/10"], "fe80::1%eth0", True),
    ],
)
def test_a_named_network_is_allowed_besides(
    networks: list[str], address: str, allowed: bool
) -> None:
    assert AddressGuard(networks).allows(address) is allowed


@pytest.mark.parametrize("address", METADATA)
@pytest.mark.parametrize("form", ["{}", "::ffff:{}", "64:ff9b::{}"])
def test_credentials_of_the_cloud_are_given_out_by_their_own_address_only(
    form: str, address: str
) -> None:
    """Whoever allows a private network does not mean what happens to lie in it."""
    around = [f"{address}/{bits}" for bits in (0, 8, 16, 24, 31)]
    networks = [str(ipaddress.ip_network(network, strict=False)) for network in around]
    text = form.format(address)
    assert not AddressGuard([*networks, "::/0", "::ffff:0:0/96", "64:ff9b::/96"]).allows(text)
    assert AddressGuard([f"{address}/32"]).allows(text)
    assert AddressGuard([address]).allows(text)


@pytest.mark.parametrize(
    "address",
    [
        *("2002:a9fe:a9fe::1", "64:ff9b:1::a9fe:a9fe", "64:ff9b:1:a9fe:a9:fe00::", "::a9fe:a9fe"),
        "2001:0:4136:e378:8000:63bf:5601:5601",  # Teredo writes the client's address inverted
    ],
)
def test_nor_are_they_by_a_gateway_of_an_allowed_network(address: str) -> None:
    around = ["2002::/16", "64:ff9b:1::/48", "::/0", "169.254.0.0/16"]
    assert not AddressGuard(around).allows(address)
    assert AddressGuard([*around, "169.254.169.254"]).allows(address)
    assert AddressGuard([*around, address]).allows(address)


@pytest.mark.parametrize(
    "address",
    ["fd00:ec2::254", "fd20:ce::254", "fd00:ec2::23", "fd00:42::42", "fe80::a9fe:a9fe"],
)
def test_so_are_those_of_ipv6(address: str) -> None:
    assert not AddressGuard(["fd00::/8", "fc00::/7", "fe80::/10", "::/0", "0.0.0.0/0"]).allows(
        address
    )
    assert AddressGuard([f"{address}/128"]).allows(address)


@pytest.mark.parametrize(
    ("wrapped", "network", "allowed"),
    [
        ("::ffff:10.0.0.1", "10.0.0.0/8", True),
        ("64:ff9b::10.0.0.1", "10.0.0.0/8", True),
        ("2002:0a00:0001::1", "10.0.0.0/8", False),
        ("::10.0.0.1", "10.0.0.0/8", False),
        ("64:ff9b:1::10.0.0.1", "10.0.0.0/8", False),
        ("2002:0a00:0001::1", "2002::/16", True),
    ],
)
def test_a_named_ipv4_network_means_what_is_reached_as_ipv4(
    wrapped: str, network: str, allowed: bool
) -> None:
    assert AddressGuard([network]).allows(wrapped) is allowed


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_judged_alike_however_it_is_wrapped(
    ip: ipaddress.IPv4Address,
) -> None:
    guard = AddressGuard()
    for wrapped in (f"::ffff:{ip}", f"64:ff9b::{ip}"):
        assert guard.allows(wrapped) == guard.allows(str(ip))


@given(st.ip_addresses(v=4), st.integers(0, 2**80 - 1))
def test_no_ipv4_address_is_reached_by_6to4(ip: ipaddress.IPv4Address, rest: int) -> None:
    """Its relays are gone; a tunnel of one's own would lead inside."""
    assert not AddressGuard().allows(
        str(ipaddress.IPv6Address(0x2002 << 112 | int(ip) << 80 | rest))
    )
