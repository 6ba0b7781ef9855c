"""One request: its URL, range and credentials, and how it is adapted to an origin that refuses it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from domain.urls import DEFAULT_PORTS
from worker.transfer.http.logins import wants_digest

#: Some origins refuse every request for a whole file with one of these, and accept a range.
_REFUSALS_WITHOUT_RANGE = frozenset({"http_400", "http_403", "http_406", "http_412", "http_416"})


@dataclass(frozen=True, slots=True)
class Adaptation:
    """How requests of one transfer differ from ordinary ones.

    Attributes:
        range_from_start: request the whole file as ``Range: bytes=0-``.
        digest_login: log in at the origin by Digest (RFC 7616) instead of Basic.
        digest_proxy: log in at the proxy by Digest.
    """

    range_from_start: bool = False
    digest_login: bool = False
    digest_proxy: bool = False

    def after_refusal(
        self,
        code: str,
        headers: Mapping[str, str],
        *,
        is_whole: bool,
        has_login: bool,
        has_proxy_login: bool,
    ) -> Adaptation | None:
        """Return the adaptation for the next request; None when there is nothing left to try.

        Args:
            code: of the error that the response maps to.
            headers: of the response.
            is_whole: the request was for the whole file.
            has_login: there is a login for the origin.
            has_proxy_login: there is a login for the proxy.
        """
        origin_wants_digest = wants_digest(headers.get("www-authenticate", ""))
        if code == "http_401" and has_login and origin_wants_digest and not self.digest_login:
            return replace(self, digest_login=True)
        proxy_wants_digest = wants_digest(headers.get("proxy-authenticate", ""))
        if (
            code == "proxy_login"
            and has_proxy_login
            and proxy_wants_digest
            and not self.digest_proxy
        ):
            return replace(self, digest_proxy=True)
        if code in _REFUSALS_WITHOUT_RANGE and is_whole and not self.range_from_start:
            return replace(self, range_from_start=True)
        return None


_NO_ADAPTATION = Adaptation()


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request for a file, or for its bytes `first` to `last` (inclusive; None: to the end)."""

    url: str
    first: int | None = None
    last: int | None = None
    if_range: str | None = None
    """The validator that the file must still have for the range to be sent."""
    headers: Sequence[str] = field(default=(), repr=False)
    cookies: str | None = field(default=None, repr=False)
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    proxy: str = field(default="", repr=False)
    """The proxy's URL, empty for none; may contain a password."""
    adaptation: Adaptation = _NO_ADAPTATION

    @property
    def is_ftp(self) -> bool:
        """Whether it goes to an FTP server, which has no headers."""
        return self.url[:3].lower() == "ftp"


def same_origin(one: str, other: str) -> bool:
    """Return whether two URLs share scheme, host and port; credentials for one may go to the other."""
    return one == other or _origin(one) == _origin(other)


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    scheme = parts.scheme.lower()
    return scheme, parts.hostname, parts.port or DEFAULT_PORTS.get(scheme)
