"""The URLs of one file: its own, its mirrors, and the targets of their redirects."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from domain.errors import InvalidInputError, PermanentError
from domain.urls import display_url, resolve_location
from worker.transfer.http.request import same_origin
from worker.transfer.interfaces import TransferSpec


@dataclass(eq=False, slots=True)
class Source:
    """One URL of the file, as the caller gave it."""

    url: str
    current_url: str = field(init=False)
    """The last redirect target, where further segments are requested."""
    digest: str = field(init=False)
    """The SHA-256 of `url`, which identifies it in a checkpoint."""
    active_requests: int = 0

    def __post_init__(self) -> None:
        self.current_url = self.url
        self.digest = hashlib.sha256(self.url.encode()).hexdigest()


class Sources:
    """The sources of one file that are still in use.

    Args:
        resumed_from: the digest of the URL in the checkpoint to resume from, or None.

    Attributes:
        first: the source whose response describes the file; the others are its mirrors.
    """

    def __init__(self, spec: TransferSpec, resumed_from: str | None) -> None:
        self._spec = spec
        self._active = [Source(url) for url in spec.urls]
        self.first = next(
            (one for one in self._active if one.digest == resumed_from), self._active[0]
        )

    def least_busy(self) -> Source:
        """Return the source with the fewest running requests; of equal ones, `first`."""
        return min(self._active, key=lambda one: (one.active_requests, one is not self.first))

    def has_others(self, source: Source) -> bool:
        """Return whether a source other than `source` is in use; `source` may have been removed."""
        return self._active != [source]

    def remove(self, source: Source) -> bool:
        """Use a source no more; return False when it was removed before, or is the last one."""
        if source not in self._active or len(self._active) == 1:
            return False
        self._active.remove(source)
        if source is self.first:
            self.first = self._active[0]
        return True

    def headers_for(self, url: str) -> Sequence[str]:
        """Return the job's header lines if `url` is at the first URL's origin, else none."""
        spec = self._spec
        if not same_origin(url, spec.urls[0]):
            return ()
        return [f"{name}: {value}" if value else f"{name};" for name, value in spec.headers.items()]

    def cookies_for(self, url: str) -> str | None:
        """Return the job's cookies if `url` is at the first URL's origin, else those for its host."""
        spec = self._spec
        return spec.cookies if same_origin(url, spec.urls[0]) else spec.other_cookies(url)

    def login_for(self, url: str) -> tuple[str | None, str | None]:
        """Return the job's username and password if `url` is at the first URL's origin."""
        spec = self._spec
        if not same_origin(url, spec.urls[0]):
            return None, None
        return spec.username, spec.password

    def resolve_redirect(self, url: str, location: str) -> str:
        """Return the target of a redirect from `url`.

        Raises:
            PermanentError: the redirect is not safe to follow.
        """
        try:
            target = resolve_location(url, location)
        except InvalidInputError as error:
            secret = self._spec.secret_url  # then its redirects may repeat what is secret
            reason = error.remedy if secret else str(error).removeprefix("url: ")
            raise _unsafe_redirect(reason) from None
        before, after = urlsplit(url).scheme.lower(), urlsplit(target).scheme.lower()
        if after not in {"http", "https"}:
            raise _unsafe_redirect(f"from {before}:// to {after}://.")
        if before == "https" and after == "http" and not self._spec.checksum:
            raise _unsafe_redirect(
                f"{display_url(target, secret=self._spec.secret_url)} is not encrypted. Give a "
                "checksum, which would detect a forged file, to allow this redirect."
            )
        return target


def _unsafe_redirect(reason: str) -> PermanentError:
    return PermanentError(f"The redirect is not followed: {reason}", code="unsafe_redirect")
