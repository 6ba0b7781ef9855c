"""Cookies from a file, and which of them go to a URL: the Netscape format, or lines of headers."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from cli.arguments.header_file import wrong_lines
from cli.arguments.text_file import read_text
from domain.errors import InvalidInputError
from domain.hosts import HostError, normal_host
from domain.request_fields import MAX_COOKIES
from domain.urls import host_of

#: A browser may export the cookies of all sites.
_MAX_FILE_BYTES = 4 * 1024 * 1024
#: Marks a line of the Netscape format that is no comment although it begins like one.
_HTTP_ONLY = "#HttpOnly_"
#: What browsers send, which is more than RFC 6265 lets servers set.
_PAIR = re.compile(r"[\x21-\x3a\x3c\x3e-\x7e]+=[\x20-\x3a\x3c-\x7e]*")
#: A cookie in a Cookie header without a name.
_NAMELESS = re.compile(r"[\x20-\x3a\x3c-\x7e]+")
_NUMBER = re.compile(r"-?[0-9]{1,20}(?:\.[0-9]*)?")
_BOOLEANS = {"TRUE": True, "FALSE": False}
_FORMAT = "seven fields separated by tabs (Netscape format), 'name=value', or a Set-Cookie header"


class _LineError(ValueError):
    """A line is no cookie; the message is a sentence that says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cookie:
    """One cookie of a file."""

    line: int
    pair: str
    """``name=value``."""
    domain: str = ""
    """The host that it is for; "" for every host."""
    with_subdomains: bool = False
    path: str = "/"
    secure: bool = False
    expires: float = 0.0
    """Seconds since 1970; 0 for a cookie of a session."""

    def why_not_sent(self, url: str, now: float) -> str | None:
        """Return why it does not go to `url`; None if it does (RFC 6265, section 5.4)."""
        parts = urlsplit(url)
        if parts.scheme.lower() not in {"http", "https"}:
            return "not for FTP"
        if self.domain and not self._is_for(host_of(url) or ""):
            return "for other hosts"
        if not _path_matches(parts.path or "/", self.path):
            return "for other paths"
        if self.secure and parts.scheme.lower() != "https":
            return "for https only"
        return "expired" if 0 < self.expires <= now else None

    def _is_for(self, host: str) -> bool:
        # A single label with its subdomains would be a whole top-level domain.
        below = self.with_subdomains and "." in self.domain and not _is_address(self.domain)
        return host == self.domain or (below and host.endswith(f".{self.domain}"))


@dataclass(frozen=True, slots=True)
class CookieFile:
    """The cookies of a file."""

    path: str
    cookies: tuple[Cookie, ...]

    def value_for(self, url: str) -> str | None:
        """Return the value of the Cookie header for `url`, longer paths first; None without cookies.

        Raises:
            InvalidInputError: one of them has characters that cannot be sent.
        """
        now = time.time()
        sent = [one for one in self.cookies if one.why_not_sent(url, now) is None]
        for cookie in sent:
            if not _NAMELESS.fullmatch(cookie.pair):
                raise InvalidInputError(
                    "--cookie",
                    self.path,
                    f"Line {cookie.line}: the cookie cannot be sent; name and value may have printable "
                    "ASCII characters only, and no semicolon.",
                )
        sent.sort(key=lambda one: -len(one.path))
        value = "; ".join(one.pair for one in sent)
        if len(value) > MAX_COOKIES:
            raise InvalidInputError(
                "--cookie",
                self.path,
                f"Its cookies for {host_of(url)} have {len(value):,} characters; {MAX_COOKIES:,} are "
                "possible. Remove some.",
            )
        return value or None

    def summary(self, url: str) -> str:
        """Return a sentence: how many cookies go to the host of `url`, and why the others do not."""
        now = time.time()
        reasons = Counter(one.why_not_sent(url, now) for one in self.cookies)
        sent = reasons.pop(None, 0)
        why = ", ".join(f"{count} {reason}" for reason, count in reasons.items())
        left_out = f"; left out: {why}" if why else ""
        return f"{sent} of {len(self.cookies)} cookies go to {host_of(url)}{left_out}."


def read_cookies(path: str) -> CookieFile:
    """Read a file of cookies: each line in the Netscape format, as ``a=b; c=d``, or as a header.

    Raises:
        InvalidInputError: it names the file and each wrong line; it shows no value.
    """
    text = read_text("--cookie", path, max_bytes=_MAX_FILE_BYTES)
    if text.lstrip()[:1] in {"[", "{"}:
        remedy = "The file is JSON. Export the cookies in the Netscape format (cookies.txt)."
        raise InvalidInputError("--cookie", path, remedy)
    found: dict[tuple[str, str, str], Cookie] = {}
    wrong: list[str] = []
    for number, line in enumerate(text.split("\n"), start=1):
        try:
            for one in _cookies_of_line(line, number):
                found[one.domain, one.path, one.pair.partition("=")[0]] = one
        except _LineError as error:
            wrong.append(f"Line {number}: {error}")
    if wrong:
        raise InvalidInputError("--cookie", path, wrong_lines(wrong))
    if not found:
        raise InvalidInputError("--cookie", path, "The file has no cookies.")
    return CookieFile(path, tuple(found.values()))


def _cookies_of_line(line: str, number: int) -> Iterator[Cookie]:
    if line.startswith(_HTTP_ONLY):
        line = line.removeprefix(_HTTP_ONLY)
    elif not line.strip() or line.lstrip().startswith("#"):
        return
    name, colon, value = line.partition(":")
    if "\t" in line.strip():
        yield _netscape_cookie(line, number)
    elif colon and name.lower() == "set-cookie":
        yield _set_cookie(value, number)
    else:
        pairs = value if colon and name.lower() == "cookie" else line
        yield from (Cookie(line=number, pair=pair) for pair in _pairs(pairs))


def _pairs(text: str) -> list[str]:
    if _looks_like_netscape(text.split()):
        raise _LineError("its fields are separated by spaces; separate them by tabs.")
    pairs = [pair.strip() for pair in text.split(";") if pair.strip()]
    if not pairs or not _PAIR.fullmatch(pairs[0]) or not all(map(_NAMELESS.fullmatch, pairs)):
        raise _LineError(f"no cookie; write {_FORMAT}.")
    return pairs


def _looks_like_netscape(fields: list[str]) -> bool:
    return len(fields) >= 6 and fields[1].upper() in _BOOLEANS and fields[3].upper() in _BOOLEANS


def _netscape_cookie(line: str, number: int) -> Cookie:
    """Read domain, subdomains, path, secure, expiry, name and value; editors cut off an empty value."""
    fields = line.strip(" ").split("\t")
    if len(fields) == 6:
        fields.append("")
    if len(fields) != 7:
        raise _LineError(f"it has {len(fields)} fields separated by tabs instead of seven.")
    domain, subdomains, path, secure, expires, name, value = map(str.strip, fields)
    if subdomains.upper() not in _BOOLEANS or secure.upper() not in _BOOLEANS:
        raise _LineError("its second and fourth fields are not TRUE or FALSE.")
    if expires and not _NUMBER.fullmatch(expires):
        raise _LineError("its fifth field, the expiry, is not a number of seconds.")
    if not name:
        raise _LineError("its sixth field, the name, is empty.")
    return Cookie(
        line=number,
        pair=f"{name}={value}",
        domain=_host(domain),
        with_subdomains=domain.startswith(".") or _BOOLEANS[subdomains.upper()],
        path=path or "/",
        secure=_BOOLEANS[secure.upper()],
        expires=max(0.0, float(expires or 0)),
    )


def _set_cookie(header: str, number: int) -> Cookie:
    """Read the value of a Set-Cookie header (RFC 6265, section 5.2)."""
    pair, *attributes = (part.strip() for part in header.split(";"))
    if "=" not in pair.lstrip("="):
        raise _LineError("a Set-Cookie header without 'name=value'.")
    given = {
        name.strip().lower(): value.strip()
        for name, _, value in (attribute.partition("=") for attribute in attributes)
    }
    domain = given.get("domain", "")
    path = given.get("path", "")
    return Cookie(
        line=number,
        pair=pair,
        domain=_host(domain) if domain else "",
        with_subdomains=True,
        path=path if path.startswith("/") else "/",
        secure="secure" in given,
        expires=_expiry(given),
    )


def _expiry(attributes: Mapping[str, str]) -> float:
    """Return when a cookie expires; Max-Age counts from an unknown time, unless it is past at once."""
    if re.fullmatch("-[0-9]+|0+", attributes.get("max-age", "")):
        return 1.0
    try:
        return max(1.0, parsedate_to_datetime(attributes.get("expires", "")).timestamp())
    except (ValueError, OverflowError, OSError):
        return 0.0


def _host(domain: str) -> str:
    try:
        return normal_host(domain.removeprefix("."))
    except HostError:
        raise _LineError("its domain is not a host name.") from None


def _is_address(host: str) -> bool:
    return ":" in host or host.replace(".", "").isdigit()


def _path_matches(path: str, prefix: str) -> bool:
    """RFC 6265, section 5.1.4."""
    return path == prefix or (
        path.startswith(prefix) and (prefix.endswith("/") or path[len(prefix)] == "/")
    )
