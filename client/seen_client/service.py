"""Where the service is, who calls it, and how patient the caller is."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import httpx

_ID = re.compile(r"[A-Za-z0-9_-]{1,100}")
_SECRET = re.compile(r"[\x21-\x7e]{1,4096}")


@dataclass(slots=True)
class Service:
    """What all operations of a client share.

    Attributes:
        url: of the service, without a slash at its end.
        key: an API key, or the token of a session; None for a caller that has not signed in.
        timeout: seconds for a connection, and without a byte of an answer. A whole answer may take ten
            times as long, those with files and events any time.
        retry_for: seconds for which a call is repeated that may be repeated.
        max_answer_bytes: of an answer or an event; of a file it does not matter.
    """

    url: str
    key: str | None = field(default=None, repr=False)
    timeout: float = 30.0
    retry_for: float = 60.0
    max_answer_bytes: int = 32 * 2**20

    def __post_init__(self) -> None:
        self.url = _checked_url(self.url)
        if self.key is not None:
            self.use(self.key)

    def use(self, key: str | None) -> None:
        """Sign in with another key from the next request on.

        Raises:
            ValueError: it has characters that no header may have.
        """
        if key is not None and not _SECRET.fullmatch(key):
            raise ValueError("The key is empty, too long, or has spaces or other characters in it.")
        self.key = key


def _checked_url(url: str) -> str:
    """Return the address of a service.

    Raises:
        ValueError: it is none, or has a part that would be sent with every request.
    """
    try:
        parts = httpx.URL(url)
    except (httpx.InvalidURL, TypeError) as error:
        raise ValueError(f"The address of the service is not valid: {error}.") from None
    if parts.scheme not in {"http", "https"} or not parts.host:
        raise ValueError("The address of the service begins with http:// or https:// and a host.")
    if parts.userinfo or parts.query or parts.fragment:
        raise ValueError("The address of the service has a login, a query or a fragment.")
    return url.rstrip("/")


def path_of(download_id: str, below: str = "") -> str:
    """Return the path of a download, or one below it.

    Raises:
        ValueError: no download has such an id; a path with it would be another one.
    """
    if not _ID.fullmatch(download_id):
        raise ValueError(f"{download_id!r:.100} is no id of a download.")
    return f"/v1/downloads/{download_id}{below}"
