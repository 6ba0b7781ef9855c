"""Normalization of hosts: address guard, limits, filters, output and libcurl use one spelling."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import unquote_to_bytes

import idna

#: RFC 1035, section 2.3.4, as text.
MAX_HOST = 253
#: The same for one label, in its ASCII form.
MAX_LABEL = 63

#: RFC 952 has no underscores in host names, but some are in use.
_FORBIDDEN = re.compile(r"[^a-z0-9_.-]")
#: With a last label of this form, a host is an IPv4 address or invalid (URL Standard).
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
#: What people type as a host: a name with a dot whose last label has letters only (or is IDNA's), or
#: an address.
_BARE_HOST = re.compile(
    r"(?:(?P<name>localhost|(?:[\w%-]+\.)+(?:xn--[a-z0-9-]+|(?:[^\W\d_]|%[0-9a-f]{2}){2,})\.?)"
    r"|[0-9]{1,3}(?:\.[0-9]{1,3}){3}|\[[0-9a-f:.]+\])(?P<port>:[0-9]{1,5})?",
    re.IGNORECASE,
)
#: With a zone (RFC 4007).
_IPV6 = re.compile(r"([0-9a-fA-F:.]+)(?:%([A-Za-z0-9._~-]{1,15}))?")
_LINK_LOCAL = ipaddress.IPv6Network("fe80::/10")
_JOINERS = {0x200C: None, 0x200D: None}


class HostError(ValueError):
    """An invalid host; the message is a sentence with the reason."""


def normal_host(text: str) -> str:
    """Return the normalized host.

    Names are percent-decoded, mapped by UTS 46 (non-transitional, as browsers and curl do) and written
    in ASCII, in lower case, without the root's dot. IPv4 addresses in any form (``127.1``, ``0x7f.1``,
    ``2130706433``, ``0177.0.0.1``) become four decimal numbers, also inside IPv6.
    IPv6 addresses are compressed, without brackets; a link-local one may have a zone (``fe80::1%eth0``).

    Raises:
        HostError: it is not a valid host.
    """
    if text.startswith("[") or ":" in text:
        return _ipv6(text)
    is_plain = text.isascii() and "%" not in text
    name = (text.lower() if is_plain else _in_ascii(_decoded(text))).removesuffix(".")
    _check_name(name)
    return _ipv4(name) if _NUMBER.fullmatch(name.rpartition(".")[2]) else name


def host_in_url(host: str) -> str:
    """Return a normalized host as URLs have it: IPv6 in brackets (RFC 3986, RFC 6874)."""
    return f"[{host.replace('%', '%25')}]" if ":" in host else host


def suggested_scheme(authority: str) -> str | None:
    """Return the scheme that is probably missing before a host with or without a port; None for others.

    The host is a name with a dot, localhost, or an address. Names on the Internet have HTTPS nowadays;
    servers on a port of their own, and those without a name, mostly have plain HTTP.
    """
    match = _BARE_HOST.fullmatch(authority)
    if match is None:
        return None
    has_name = match["name"] is not None and match["name"].lower() != "localhost"
    if match["port"]:
        return "https" if match["port"] == ":443" else "http"
    return "https" if has_name else "http"


def _decoded(text: str) -> str:
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeError:
        raise HostError("Its host name is not UTF-8: write it in UTF-8 or as xn--….") from None


def _in_ascii(name: str) -> str:
    try:
        mapped = idna.uts46_remap(name, std3_rules=False)
    except idna.IDNAError as error:
        raise _not_idna(_why(error)) from None
    return ".".join(map(_ascii_label, mapped.split(".")))


def _ascii_label(label: str) -> str:
    """Return a label's ASCII form, with the checks of UTS 46 that browsers make.

    `idna.alabel` refuses characters that IDNA 2008 does not list, such as emoji, which are in use.
    """
    if label.isascii():
        return label
    try:
        if not _joins_well(label):
            # An invisible joiner without effect here; IDNA 2003 removed all of them.
            return _ascii_label(label.translate(_JOINERS))
        idna.check_initial_combiner(label)
        idna.check_bidi(label)
    except (
        ValueError
    ) as error:  # IDNAError, or a character that this Python's Unicode does not know
        raise _not_idna(_why(error)) from None
    encoded = f"xn--{label.encode('punycode').decode()}"
    if len(encoded) > MAX_LABEL:
        raise _not_idna(f"{encoded[:16]}… has more than {MAX_LABEL} characters")
    return encoded


def _joins_well(label: str) -> bool:
    joiners = (position for position, char in enumerate(label) if ord(char) in _JOINERS)
    return all(idna.valid_contextj(label, position) for position in joiners)


def _why(error: ValueError) -> str:
    codepoint = getattr(error, "codepoint", None)
    return "it is not allowed" if codepoint is None else f"U+{codepoint:04X} is not allowed there"


def _not_idna(reason: str) -> HostError:
    return HostError(f"Its host name cannot be written in IDNA: {reason}.")


def _check_name(name: str) -> None:
    if not name:
        raise HostError("It has no host name.")
    forbidden = _FORBIDDEN.search(name)
    if forbidden:
        raise HostError(f"A host name has no {forbidden[0]!r}.")
    if "" in name.split("."):
        raise HostError("Its host name begins with a dot, or has two in a row.")
    if len(name) > MAX_HOST:
        raise HostError(f"A host name has at most {MAX_HOST} characters.")


def _ipv4(name: str) -> str:
    """Read an address as inet_aton does: one to four numbers, decimal, octal or hexadecimal."""
    try:
        *first, last = (_number(part) for part in name.split("."))
    except ValueError:
        raise _no_ipv4() from None
    if len(first) > 3 or any(number > 255 for number in first) or last >= 256 ** (4 - len(first)):
        raise _no_ipv4()
    high = sum(number << 8 * (3 - place) for place, number in enumerate(first))
    return str(ipaddress.IPv4Address(high + last))


def _number(text: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise ValueError(text)
    if text.startswith("0x"):
        return int(text[2:] or "0", 16)
    return int(text, 8 if len(text) > 1 and text.startswith("0") else 10)


def _no_ipv4() -> HostError:
    return HostError("Its host ends in a number, as IPv4 addresses do, and is none.")


def _ipv6(text: str) -> str:
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1].replace("%25", "%", 1)  # as URLs write a zone (RFC 6874)
    match = _IPV6.fullmatch(text)
    if match is None:
        raise _no_ipv6()
    try:
        ip = ipaddress.IPv6Address(match[1])
    except ValueError:
        raise _no_ipv6() from None
    if match[2] is None:
        return str(ip.ipv4_mapped or ip)
    if ip not in _LINK_LOCAL:
        raise HostError("Only link-local IPv6 addresses (fe80::…) have a zone.")
    return f"{ip}%{match[2]}"


def _no_ipv6() -> HostError:
    return HostError("Its host has a colon or brackets, and is no IPv6 address.")
