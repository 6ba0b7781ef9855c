"""What an origin says of itself: the answer's headers, and whether its address may be asked at all."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime

# 18 digits are more bytes than any file system holds, and fit into 64 bits.
_LENGTH = re.compile(r"[0-9]{1,18}")
#: A date this much older than the answer is taken for strong. Seconds.
STRONG_DATE_AGE = 60

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)", re.IGNORECASE)

_UNSATISFIED = re.compile(r"bytes \*/([0-9]{1,18})", re.IGNORECASE)

#: Reached through NAT64, an IPv4 address hides in the last 32 bits (RFC 6052).
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
#: Where clouds hand out credentials to whoever asks from inside (AWS, Azure, GCP, Oracle, Alibaba). A
#: network that happens to contain one does not allow it; only its own address does.
_METADATA = frozenset(
    ipaddress.ip_address(text)
    for text in (
        "169.254.169.254",
        "fd00:ec2::254",
        "fd20:ce::254",
        "168.63.129.16",
        "192.0.0.192",
        "100.100.100.200",
    )
)


class AddressGuard:
    """Says which addresses may be connected to: public ones, and those of networks named as allowed.

    It is asked at the socket, for every connection and every redirect, so a name that resolves to a
    private address does not pass, whenever it does so.
    """

    def __init__(self, allowed_networks: Iterable[str] = ()) -> None:
        self._allowed = [ipaddress.ip_network(network) for network in allowed_networks]

    def allows_host(self, host: str) -> bool:
        """Say whether a host may be asked for through a proxy, which resolves names itself.

        All that can be told here is an address that stands in place of a name.
        """
        address = _address(host.strip("[]"))
        return address is None or self.allows(address)

    def allows(self, address: str) -> bool:
        """Say whether `address` (IPv4 or IPv6, without port) may be connected to."""
        ip = _unwrap(ipaddress.ip_address(address.partition("%")[0]))
        if ip in _METADATA:
            return any(ip in network and network.num_addresses == 1 for network in self._allowed)
        if any(ip in network for network in self._allowed):
            return True
        # `is_global` alone lets through what has no place on the internet: ::/96 and other unassigned
        # parts of IPv6, site-local addresses, and IPv4 in 6to4, whose relays are gone.
        special = ip.is_multicast or ip.is_reserved
        if isinstance(ip, ipaddress.IPv6Address):
            special = special or ip.is_site_local or ip.sixtofour is not None
        return ip.is_global and not special


def _address(host: str) -> str | None:
    """Return the address that stands in place of a name, however it is written (``0x7f.1``), or None."""
    with suppress(ValueError):
        return str(ipaddress.ip_address(host))
    with suppress(OSError, ValueError):
        return socket.inet_ntoa(socket.inet_aton(host))
    return None


def _unwrap(
    ip: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Return the IPv4 address that an IPv6 one stands for, if it does."""
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return ip.ipv4_mapped
        if ip in _NAT64:
            return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip


@dataclass(slots=True)
class Answer:
    """The status and headers of a response; of several fields of one name the last, except codings."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    is_complete: bool = True
    """Whether the header came to its end; only what `feed` was given can be incomplete."""

    def feed(self, line: bytes) -> None:
        """Take in one header line as libcurl hands it out."""
        text = line.decode("latin-1").strip()
        if text.startswith("HTTP/"):
            # A new response begins: the one after a 1xx.
            self.status = _status(text)
            self.headers.clear()
            self.is_complete = False
            return
        if not text:
            self.is_complete = True
        name, colon, value = text.partition(":")
        if colon:
            self._add(name.strip().lower(), value.strip())

    def _add(self, name: str, value: str) -> None:
        # Codings are a list, which may be spread over several fields (RFC 9110, section 5.3).
        before = self.headers.get(name) if name == "content-encoding" else None
        self.headers[name] = value if before is None else f"{before}, {value}"

    @property
    def is_encoded(self) -> bool:
        """Whether the body is not the file as it is, but compressed."""
        codings = self.headers.get("content-encoding", "").lower().split(",")
        return any(coding.strip() not in {"", "identity"} for coding in codings)

    @property
    def content_length(self) -> int | None:
        """The promised length of this body in bytes, or None."""
        if "transfer-encoding" in self.headers:
            return None
        # The same number twice is one number (RFC 9110, 8.6).
        numbers = {part.strip() for part in self.headers.get("content-length", "").split(",")}
        text = numbers.pop() if len(numbers) == 1 else ""
        return int(text) if _LENGTH.fullmatch(text) else None

    @property
    def content_range(self) -> tuple[int, int, int | None] | None:
        """(first byte, last byte, total or None) of a 206, or None when it has no usable one."""
        match = _CONTENT_RANGE.fullmatch(self.headers.get("content-range", ""))
        if match is None:
            return None
        first, last = int(match[1]), int(match[2])
        total = None if match[3] == "*" else int(match[3])
        if last < first or (total is not None and last >= total):
            return None
        return first, last, total

    @property
    def unsatisfied_size(self) -> int | None:
        """The file's size as a 416 tells it (``bytes */1234``), or None."""
        match = _UNSATISFIED.fullmatch(self.headers.get("content-range", ""))
        return int(match[1]) if match else None

    @property
    def promised_size(self) -> int | None:
        """The size of the whole file, as far as this answer tells it."""
        span = self.content_range
        return span[2] if self.status == 206 and span is not None else self.content_length

    @property
    def promises_no_number(self) -> bool:
        """Whether there is a Content-Length that counts and cannot be: libcurl overlooks such a one."""
        counts = "content-length" in self.headers and "transfer-encoding" not in self.headers
        return counts and self.content_length is None

    @property
    def validator(self) -> str | None:
        """What If-Range may ask with, or None when nothing vouches for single bytes.

        A strong entity tag; or, where there is no tag at all, a Last-Modified date that is old enough to
        be strong (RFC 9110, 8.8.2.2): a file changed twice within its resolution has one date.
        """
        if "etag" in self.headers:
            tag = self.etag
            return tag if tag is not None and tag.isascii() else None
        return self.date

    @property
    def date(self) -> str | None:
        """The Last-Modified date where it is a strong validator, else None."""
        return self.last_modified if self._date_is_strong() else None

    def _date_is_strong(self) -> bool:
        try:
            changed = parsedate_to_datetime(self.headers["last-modified"])
            sent = parsedate_to_datetime(self.headers["date"])
            return (sent - changed).total_seconds() >= STRONG_DATE_AGE
        except (KeyError, ValueError, TypeError, OverflowError):
            return False

    @property
    def etag(self) -> str | None:
        """The strong entity tag, or None: a weak one does not vouch for bytes (RFC 9110, 8.8.1)."""
        tag = self.headers.get("etag")
        return tag if tag and not tag.startswith(("W/", "w/")) else None

    @property
    def last_modified(self) -> str | None:
        """The Last-Modified date as sent."""
        return self.headers.get("last-modified")


def _status(line: str) -> int:
    parts = line.split(maxsplit=2)
    return int(parts[1]) if len(parts) > 1 and parts[1].isdecimal() else 0
