"""How requests are put so that an origin, or the proxy, answers them; learnt from refusals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from worker.transfer.http.logins import wants_digest

#: Refusals that some origins give to every request for a whole file, and to none for a range.
_UNLESS_RANGE = frozenset({"http_400", "http_403", "http_406", "http_412", "http_416"})


@dataclass(frozen=True, slots=True)
class Adaptation:
    """What differs from an ordinary request.

    Attributes:
        range_from_start: the whole file is asked for as ``Range: bytes=0-``.
        digest_login: the login is given by Digest (RFC 7616), not by Basic.
        digest_proxy: so is the proxy's.
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
        """Return how to ask once more; None where nothing is left to try.

        Args:
            code: of the error that the answer means.
            headers: the answer's.
            is_whole: the request was for the whole file.
            has_login: there is a login for the origin.
            has_proxy_login: there is one for the proxy.
        """
        origin_asks = wants_digest(headers.get("www-authenticate", ""))
        if code == "http_401" and has_login and origin_asks and not self.digest_login:
            return replace(self, digest_login=True)
        proxy_asks = wants_digest(headers.get("proxy-authenticate", ""))
        if code == "proxy_login" and has_proxy_login and proxy_asks and not self.digest_proxy:
            return replace(self, digest_proxy=True)
        if code in _UNLESS_RANGE and is_whole and not self.range_from_start:
            return replace(self, range_from_start=True)
        return None
