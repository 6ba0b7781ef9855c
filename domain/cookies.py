"""Cookies with the hosts that they are for, and which of them go to a URL (RFC 6265, section 5.4)."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from domain.urls import host_of

#: What a Cookie header can hold between two semicolons.
SENDABLE = re.compile(r"[\x20-\x3a\x3c-\x7e]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cookie:
    """One cookie."""

    pair: str
    """``name=value``."""
    domain: str = ""
    """The host that it is for, normalized; "" for every host."""
    with_subdomains: bool = False
    path: str = "/"
    secure: bool = False
    expires: float = 0.0
    """Seconds since 1970; 0 for a cookie of a session."""

    def why_not_sent(self, url: str, now: float) -> str | None:
        """Return why it does not go to `url`; None if it does."""
        parts = urlsplit(url)
        if parts.scheme.lower() not in {"http", "https"}:
            return "not for FTP"
        if self.is_expired(now):
            return "expired"
        if self.domain and not self._is_for(host_of(url) or ""):
            return "for other hosts"
        if not _path_matches(parts.path or "/", self.path):
            return "for other paths"
        return "for https only" if self.secure and parts.scheme.lower() != "https" else None

    def is_expired(self, now: float) -> bool:
        """Return whether its time is over."""
        return 0 < self.expires <= now

    def _is_for(self, host: str) -> bool:
        # A single label with its subdomains would be a whole top-level domain.
        below = self.with_subdomains and "." in self.domain and not is_address(self.domain)
        return host == self.domain or (below and host.endswith(f".{self.domain}"))


def cookies_for(cookies: Iterable[Cookie], url: str) -> list[Cookie]:
    """Return the cookies that go to `url` now, those of longer paths first."""
    now = time.time()
    sent = [one for one in cookies if one.why_not_sent(url, now) is None]
    return sorted(sent, key=lambda one: -len(one.path))


def cookie_header(cookies: Iterable[Cookie], url: str) -> str | None:
    """Return the value of the Cookie header for `url`; None without cookies."""
    return "; ".join(one.pair for one in cookies_for(cookies, url)) or None


def is_address(host: str) -> bool:
    """Return whether a normalized host is an IP address."""
    return ":" in host or host.replace(".", "").isdigit()


def _path_matches(path: str, prefix: str) -> bool:
    """RFC 6265, section 5.1.4."""
    return path == prefix or (
        path.startswith(prefix) and (prefix.endswith("/") or path[len(prefix)] == "/")
    )
