"""What an origin says of itself: the answer's headers, and whether its address may be asked at all."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime

from domain.hosts import HostError, normal_host
from worker.transfer.http.special_addresses import (
    METADATA,
    NOT_PUBLIC,
    Address,
    embedded_ipv4,
    reached_as_ipv4,
)

# 18 digits are more bytes than any file system holds, and fit into 64 bits.
_LENGTH = re.compile(r"[0-9]{1,18}")
_SPACE = " \t\r\n"
#: A date this much older than the answer is taken for strong. Seconds.
STRONG_DATE_AGE = 60

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)", re.IGNORECASE)

_STATUS = re.compile(r"[0-9]{3}")
_UNSATISFIED = re.compile(r"bytes \*/([0-9]{1,18})", re.IGNORECASE)


class AddressGuard:
    """Says which addresses may be connected to: public ones, and those of networks named as allowed.

    It is asked at the socket, for every connection and every redirect, so a name that resolves to a
    private address does not pass, whenever it does so.
    """

    def __init__(self, allowed_networks: Iterable[str] = ()) -> None:
        self._allowed = [ipaddress.ip_network(network) for network in allowed_networks]

    def allows_host(self, host: str) -> bool:
        """Say whether a host may be asked for through a proxy, which resolves names itself.

        All that can be told here is an address that stands in place of a name, in any spelling.
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
        """Say whether `address` (IPv4 or IPv6, without port) may be connected to.

        Raises:
            ValueError: it is no address.
        """
        told = ipaddress.ip_address(address.partition("%")[0])
        ip = reached_as_ipv4(told) or told
        metadata = METADATA & {ip, *embedded_ipv4(ip)}
        if metadata:
            return any(self._names_alone(one) for one in {ip, *metadata})
        if any(ip in network for network in self._allowed):
            return True
        return not any(ip in network for network in NOT_PUBLIC)

    def _names_alone(self, ip: Address) -> bool:
        """Say whether an allowed network is this very address: what lies around it does not mean it."""
        return any(ip in network and network.num_addresses == 1 for network in self._allowed)


#: Fields that are lists, so that several of one name are one (RFC 9110, 5.3). Of others the last counts.
_LISTS = frozenset(
    {
        *("content-encoding", "www-authenticate", "proxy-authenticate", "warning"),
        *("repr-digest", "content-digest", "digest", "x-goog-hash"),
    }
)


@dataclass(slots=True)
class Response:
    """The status and headers of a response; of several fields of one name the last, or their list."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    is_complete: bool = True
    """Whether the header came to its end; only what `feed` was given can be incomplete."""
    has_content: bool = True
    """False when the response has ended without a byte of content."""

    def feed(self, line: bytes) -> None:
        """Take in one header line as libcurl hands it out."""
        # Not every space of Unicode: 0x85 and 0xA0 end the UTF-8 form of many letters.
        text = line.decode("latin-1").strip(_SPACE)
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
            self._add(name.strip(_SPACE).lower(), value.strip(_SPACE))

    def _add(self, name: str, value: str) -> None:
        if name in _LISTS and name in self.headers:
            value = f"{self.headers[name]}, {value}"
        self.headers[name] = value

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
    def is_multipart_range(self) -> bool:
        """Whether the body holds ranges with headers of their own between them."""
        return self.headers.get("content-type", "").lower().startswith("multipart/byteranges")

    @property
    def resource_size(self) -> int | None:
        """The size of the whole file, as far as this answer tells it."""
        if self.status != 206:
            return self.content_length
        span = self.content_range
        return None if span is None else span[2]

    @property
    def body_end(self) -> int | None:
        """Where in the file (exclusive) the body of an answer from its first byte on has to end."""
        span = self.content_range if self.status == 206 else None
        return self.content_length if span is None else span[1] + 1

    @property
    def has_invalid_length(self) -> bool:
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
    return int(parts[1]) if len(parts) > 1 and _STATUS.fullmatch(parts[1]) else 0
