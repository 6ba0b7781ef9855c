"""Where the bytes of one file can be had: its URL, its mirrors, and where these redirect to."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from domain.errors import InvalidInputError, PermanentError
from domain.urls import display_url, resolve_location
from worker.transfer.http.curl_options import same_origin
from worker.transfer.spec import Order


@dataclass(eq=False, slots=True)
class Source:
    """One URL of the file, as given."""

    url: str
    current: str = field(init=False)
    """Where its redirects led: further pieces are asked for there."""
    digest: str = field(init=False)
    """The SHA-256 of the given URL: how a checkpoint names it."""
    requests: int = 0
    """Running ones."""

    def __post_init__(self) -> None:
        self.current = self.url
        self.digest = hashlib.sha256(self.url.encode()).hexdigest()


class Sources:
    """All URLs of one file that have not failed for good.

    Attributes:
        first: the one the file was begun with, or is to be; the others are its mirrors.
    """

    def __init__(self, order: Order, begun_with: str | None) -> None:
        """Args: begun_with: the digest of the URL that a checkpoint's bytes are from."""
        self._order = order
        self._alive = [Source(url) for url in order.urls]
        self.first = next((one for one in self._alive if one.digest == begun_with), self._alive[0])

    def pick(self) -> Source:
        """Return the source with the fewest running requests, the first one where several have."""
        return min(self._alive, key=lambda one: (one.requests, one is not self.first))

    def has_others(self, source: Source) -> bool:
        """Say whether there is another one to ask; `source` itself may have been dropped already."""
        return self._alive != [source]

    def drop(self, source: Source) -> bool:
        """Ask this one no more; False when it had been dropped, or is the last one, which stays."""
        if source not in self._alive or len(self._alive) == 1:
            return False
        self._alive.remove(source)
        if source is self.first:
            self.first = self._alive[0]
        return True

    def headers_for(self, url: str) -> Sequence[str]:
        """Return the job's own header lines, for a URL of the origin they were given for; else none."""
        order = self._order
        if not same_origin(url, order.urls[0]):
            return ()
        return [
            f"{name}: {value}" if value else f"{name};" for name, value in order.headers.items()
        ]

    def cookies_for(self, url: str) -> str | None:
        """Return the job's own cookies, for a URL of the origin they were given for; else None."""
        order = self._order
        return order.cookies if same_origin(url, order.urls[0]) else None

    def login_for(self, url: str) -> tuple[str | None, str | None]:
        """Return the job's user name and password, for a URL of the origin they were given for."""
        order = self._order
        if not same_origin(url, order.urls[0]):
            return None, None
        return order.username, order.password

    def redirect(self, url: str, location: str) -> str:
        """Return where a redirect from `url` leads.

        Raises:
            PermanentError: to where nobody should be led.
        """
        try:
            target = resolve_location(url, location)
        except InvalidInputError as error:
            raise _unsafe(str(error).removeprefix("url: ")) from None
        before, after = urlsplit(url).scheme.lower(), urlsplit(target).scheme.lower()
        if after not in {"http", "https"}:
            raise _unsafe(f"{after}:// is not followed from {before}://.")
        if before == "https" and after == "http" and not self._order.checksum:
            raise _unsafe(
                f"{display_url(target)} is not encrypted, and no checksum was given that would tell "
                "a forged file."
            )
        return target


def _unsafe(why: str) -> PermanentError:
    return PermanentError(
        f"The origin redirects to where we do not go: {why}", code="unsafe_redirect"
    )
