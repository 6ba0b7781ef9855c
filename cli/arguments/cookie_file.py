"""Cookies from a file, and which of them go to a URL: the Netscape format, or lines of headers."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from cli.arguments.header_file import wrong_lines
from cli.arguments.text_file import read_text
from domain.cookies import SENDABLE, Cookie, cookies_for, is_address
from domain.errors import InvalidInputError
from domain.hosts import HostError, normal_host
from domain.request_fields import MAX_COOKIE_JAR, MAX_COOKIES, jar_size
from domain.urls import host_of

#: A browser may export the cookies of all sites.
_MAX_FILE_BYTES = 4 * 1024 * 1024
#: Marks a line of the Netscape format that is no comment although it begins like one.
_HTTP_ONLY = "#HttpOnly_"
#: What browsers send, which is more than RFC 6265 lets servers set.
_PAIR = re.compile(r"[\x21-\x3a\x3c\x3e-\x7e]+=[\x20-\x3a\x3c-\x7e]*")
_NUMBER = re.compile(r"-?[0-9]{1,20}(?:\.[0-9]*)?")
_BOOLEANS = {"TRUE": True, "FALSE": False}
_FORMAT = "seven fields separated by tabs (Netscape format), 'name=value', or a Set-Cookie header"


class _LineError(ValueError):
    """A line is no cookie; the message is a sentence that says why."""


@dataclass(frozen=True, slots=True)
class CookieFile:
    """The cookies of a file, each with the number of its line."""

    path: str
    cookies: Mapping[Cookie, int]

    def value_for(self, url: str) -> str | None:
        """Return the value of the Cookie header for `url`; None without cookies.

        Raises:
            InvalidInputError: they are too long, or one has characters that cannot be sent.
        """
        sent = cookies_for(self.cookies, url)
        for cookie in sent:
            if not SENDABLE.fullmatch(cookie.pair):
                raise InvalidInputError(
                    "--cookie",
                    self.path,
                    f"Line {self.cookies[cookie]}: the cookie cannot be sent; name and value may have "
                    "printable ASCII characters only, and no semicolon.",
                )
        value = "; ".join(one.pair for one in sent)
        if len(value) > MAX_COOKIES:
            raise InvalidInputError(
                "--cookie",
                self.path,
                f"Its cookies for {host_of(url)} have {len(value):,} characters; {MAX_COOKIES:,} are "
                "possible. Remove some.",
            )
        return value or None

    def jar_for(self, url: str) -> tuple[Cookie, ...]:
        """Return the cookies for hosts to which `url` may redirect; of many, those of the same site."""
        now = time.time()
        kept = tuple(
            one
            for one in self.cookies
            if one.domain
            and SENDABLE.fullmatch(one.pair)
            and one.why_not_sent(url, now) not in {"expired", "not for FTP"}
        )
        if jar_size(kept) <= MAX_COOKIE_JAR:
            return kept
        site = _site(host_of(url) or "")
        return tuple(one for one in kept if _site(one.domain) == site)

    def summary(self, url: str) -> str:
        """Return a sentence: how many cookies go to the host of `url`, and what is done with others."""
        now = time.time()
        jar = set(self.jar_for(url))
        unsent = {one: one.why_not_sent(url, now) for one in self.cookies}
        sent = [one for one, reason in unsent.items() if reason is None]
        kept = len(jar.difference(sent))
        reasons = Counter(
            reason for one, reason in unsent.items() if reason is not None and one not in jar
        )
        parts = [f"{len(sent)} of {len(self.cookies)} cookies go to {host_of(url)}"]
        parts += [f"{kept} kept for redirects"] if kept else []
        parts += [f"{count} left out ({reason})" for reason, count in reasons.items()]
        return f"{'; '.join(parts)}."


def _site(host: str) -> str:
    """Return the last two labels of a host name; an address as it is."""
    return host if is_address(host) else ".".join(host.split(".")[-2:])


def read_cookies(path: str) -> CookieFile:
    """Read a file of cookies: each line in the Netscape format, as ``a=b; c=d``, or as a header.

    Raises:
        InvalidInputError: it names the file and each wrong line; it shows no value.
    """
    text = read_text("--cookie", path, max_bytes=_MAX_FILE_BYTES)
    if text.lstrip()[:1] in {"[", "{"}:
        remedy = "The file is JSON. Export the cookies in the Netscape format (cookies.txt)."
        raise InvalidInputError("--cookie", path, remedy)
    found: dict[tuple[str, str, str], tuple[Cookie, int]] = {}
    wrong: list[str] = []
    for number, line in enumerate(text.split("\n"), start=1):
        try:
            for one in _cookies_of_line(line):
                found[one.domain, one.path, one.pair.partition("=")[0]] = one, number
        except _LineError as error:
            wrong.append(f"Line {number}: {error}")
    if wrong:
        raise InvalidInputError("--cookie", path, wrong_lines(wrong))
    if not found:
        raise InvalidInputError("--cookie", path, "The file has no cookies.")
    return CookieFile(path, dict(found.values()))


def _cookies_of_line(line: str) -> Iterator[Cookie]:
    if line.startswith(_HTTP_ONLY):
        line = line.removeprefix(_HTTP_ONLY)
    elif not line.strip() or line.lstrip().startswith("#"):
        return
    name, colon, value = line.partition(":")
    if "\t" in line.strip():
        yield _netscape_cookie(line)
    elif colon and name.lower() == "set-cookie":
        yield _set_cookie(value)
    else:
        pairs = value if colon and name.lower() == "cookie" else line
        yield from (Cookie(pair=pair) for pair in _pairs(pairs))


def _pairs(text: str) -> list[str]:
    if _looks_like_netscape(text.split()):
        raise _LineError("its fields are separated by spaces; separate them by tabs.")
    pairs = [pair.strip() for pair in text.split(";") if pair.strip()]
    if not pairs or not _PAIR.fullmatch(pairs[0]) or not all(map(SENDABLE.fullmatch, pairs)):
        raise _LineError(f"no cookie; write {_FORMAT}.")
    return pairs


def _looks_like_netscape(fields: list[str]) -> bool:
    return len(fields) >= 6 and fields[1].upper() in _BOOLEANS and fields[3].upper() in _BOOLEANS


def _netscape_cookie(line: str) -> Cookie:
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
        pair=f"{name}={value}",
        domain=_host(domain),
        with_subdomains=domain.startswith(".") or _BOOLEANS[subdomains.upper()],
        path=path or "/",
        secure=_BOOLEANS[secure.upper()],
        expires=max(0.0, float(expires or 0)),
    )


def _set_cookie(header: str) -> Cookie:
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
