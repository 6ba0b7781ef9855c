"""What to do about a failed download, where its reason does not say it: for commands and the page."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

_CHECK_URL = "Check the URL."
#: By the code of the error.
BY_CODE: Mapping[str, str] = MappingProxyType(
    {
        "http_400": _CHECK_URL,
        "http_403": "Check the URL; the origin may require a login (-u) or a header (-H).",
        "http_404": _CHECK_URL,
        "http_410": _CHECK_URL,
        "http_451": "Try another source of the file.",
        "no_such_host": "Check the host's name in the URL.",
        "too_many_redirects": "Check the URL; the origin may require a cookie (-b).",
        "checksum_mismatch": "Check the expected checksum, or try another source of the file.",
        "bad_range": "Try it with one connection (--connections 1), or another source of the file.",
    }
)
