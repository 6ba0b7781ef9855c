"""Where the bytes of one file can be had: its URL, its mirrors, and where these redirect to."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from domain.errors import InvalidInputError, PermanentError
from domain.urls import display_url, resolve_location
from worker.transfer.http.request import same_origin
from worker.transfer.spec import TransferSpec


@dataclass(eq=False, slots=True)
class Source:
    """One URL of the file, as given."""

    url: str
    current_url: str = field(init=False)
    """Where its redirects led: further segments are asked for there."""
    digest: str = field(init=False)
    """The SHA-256 of the given URL: how a checkpoint names it."""
    active_requests: int = 0
    """Running ones."""

    def __post_init__(self) -> None:
        self.current_url = self.url
        self.digest = hashlib.sha256(self.url.encode()).hexdigest()


class Sources:
    """All URLs of one file that have not failed for good.

    Attributes:
        first: the one the file was begun with, or is to be; the others are its mirrors.
    """

    def __init__(self, spec: TransferSpec, resumed_from: str | None) -> None:
        """Args: resumed_from: the digest of the URL that a checkpoint's bytes are from."""
        self._spec = spec
        self._active = [Source(url) for url in spec.urls]
        self.first = next(
            (one for one in self._active if one.digest == resumed_from), self._active[0]
        )

    def least_busy(self) -> Source:
        """Return the source with the fewest running requests, the first one where several have."""
        return min(self._active, key=lambda one: (one.active_requests, one is not self.first))

    def has_others(self, source: Source) -> bool:
        """Say whether there is another one to ask; `source` itself may have been dropped already."""
        return self._active != [source]

    def remove(self, source: Source) -> bool:
        """Ask this one no more; False when it had been dropped, or is the last one, which stays."""
        if source not in self._active or len(self._active) == 1:
            return False
        self._active.remove(source)
        if source is self.first:
            self.first = self._active[0]
        return True

    def headers_for(self, url: str) -> Sequence[str]:
        """Return the job's own header lines, for a URL of the origin they were given for; else none."""
        spec = self._spec
        if not same_origin(url, spec.urls[0]):
            return ()
        return [f"{name}: {value}" if value else f"{name};" for name, value in spec.headers.items()]

    def cookies_for(self, url: str) -> str | None:
        """Return the job's own cookies, for a URL of the origin they were given for; else None."""
        spec = self._spec
        return spec.cookies if same_origin(url, spec.urls[0]) else None

    def login_for(self, url: str) -> tuple[str | None, str | None]:
        """Return the job's user name and password, for a URL of the origin they were given for."""
        spec = self._spec
        if not same_origin(url, spec.urls[0]):
            return None, None
        return spec.username, spec.password

    def resolve_redirect(self, url: str, location: str) -> str:
        """Return where a redirect from `url` leads.

        Raises:
            PermanentError: to where nobody should be led.
        """
        try:
            target = resolve_location(url, location)
        except InvalidInputError as error:
            raise _unsafe_redirect(str(error).removeprefix("url: ")) from None
        before, after = urlsplit(url).scheme.lower(), urlsplit(target).scheme.lower()
        if after not in {"http", "https"}:
            raise _unsafe_redirect(f"{after}:// is not followed from {before}://.")
        if before == "https" and after == "http" and not self._spec.checksum:
            raise _unsafe_redirect(
                f"{display_url(target)} is not encrypted, and no checksum was given that would tell "
                "a forged file."
            )
        return target


def _unsafe_redirect(why: str) -> PermanentError:
    return PermanentError(
        f"The origin redirects to where we do not go: {why}", code="unsafe_redirect"
    )
