"""What to do about a failed download, where its reason does not say it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from domain.job import JobStatus
from tasks.api.job_view import JobView

_CHECK_URL = "Check the URL."
_BY_CODE: Mapping[str, str] = MappingProxyType(
    {
        "http_400": _CHECK_URL,
        "http_403": "Check the URL; the origin may require a login (-u) or a header (-H).",
        "http_404": _CHECK_URL,
        "http_410": _CHECK_URL,
        "http_451": "Try another source of the file.",
        "no_such_host": "Check the host's name in the URL.",
        "too_many_redirects": "Check the URL; the origin may require a cookie (-b).",
        "checksum_mismatch": "Check the expected checksum, or try another source of the file.",
        "bad_range": "Try --connections 1, or another source of the file.",
    }
)
#: The reason of this error names the limit only if it is that of the request.
_SIZE_LIMIT = "at most"


def remedy(view: JobView) -> str:
    """Return a sentence that says what to do; empty where the reason says it, or nothing helps."""
    if view.status is not JobStatus.FAILED:
        return ""
    code, reason = view.progress.error_code or "", view.progress.reason or ""
    if code == "too_large" and _SIZE_LIMIT in reason:
        return "Raise --max-bytes to get it."
    return _BY_CODE.get(code, "")
