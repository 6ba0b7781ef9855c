"""What to do about a failed download, where its reason does not say it."""

from __future__ import annotations

from domain.job import JobStatus
from domain.remedies import downloads
from tasks.api.job_view import JobView

#: The reason of this error names the limit only if it is that of the request.
_SIZE_LIMIT = "at most"


def remedy(view: JobView) -> str:
    """Return a sentence that says what to do; empty where the reason says it, or nothing helps."""
    if view.status is not JobStatus.FAILED:
        return ""
    code, reason = view.progress.error_code or "", view.progress.reason or ""
    if code == "too_large" and _SIZE_LIMIT in reason:
        return "Raise --max-bytes to get it."
    return downloads.BY_CODE.get(code, "")
