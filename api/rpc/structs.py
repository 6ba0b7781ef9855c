"""Jobs as aria2's structs: all values are texts, numbers too."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any

from api.rpc.callers import Caller
from api.rpc.gids import gid_of
from domain.access import changes
from domain.errors import InvalidInputError
from domain.job import RUNNING, Job, JobStatus
from domain.urls import display_url
from tasks.api.job_view import JobView
from worker.storage.filenames import name_from_url

#: aria2's states.
STATES: Mapping[JobStatus, str] = {
    JobStatus.QUEUED: "waiting",
    JobStatus.WAITING: "waiting",
    JobStatus.DOWNLOADING: "active",
    JobStatus.VERIFYING: "active",
    JobStatus.PAUSED: "paused",
    JobStatus.COMPLETED: "complete",
    JobStatus.FAILED: "error",
    JobStatus.CANCELLED: "removed",
}
PIECE = 2**20
#: Characters of a download in an answer, without its URLs; about.
_SIZE = 1_000
#: aria2's exit statuses, by the beginnings of our codes; the longest one that fits counts.
_ERRORS: Mapping[str, str] = {
    "timeout": "2",
    "too_slow": "5",
    "http_404": "3",
    "http_410": "3",
    "http_401": "24",
    "http_403": "24",
    "http_407": "24",
    "http_503": "29",
    "http_": "22",
    "bad_response": "22",
    "headers_too_large": "22",
    "too_many_redirects": "23",
    "no_such_host": "19",
    "dns": "19",
    "connect": "6",
    "reset": "6",
    "empty_reply": "6",
    "tls": "6",
    "truncated": "6",
    "proxy": "6",
    "bad_range": "8",
    "disk_full": "9",
    "disk": "17",
    "bad_path": "18",
    "unsuitable_folder": "18",
    "checksum_mismatch": "32",
}
_UNKNOWN, _REMOVED = "1", "31"


class Structs:
    """Makes the structs of one call.

    Args:
        caller: who gets them: URLs of jobs that it may not change are without their secrets.
    """

    def __init__(self, caller: Caller) -> None:
        self._principal, self._runtime = caller.principal, caller.runtime
        self._spend = caller.spend
        self._folders: dict[str, str] = {}

    def status(self, view: JobView, keys: Collection[str] = ()) -> dict[str, Any]:
        """Return the status of a download; without keys, all of it."""
        self._spend(_SIZE)
        progress, total = view.progress, view.progress.bytes_total or 0
        is_active = view.status in RUNNING
        found: dict[str, Any] = {
            "completedLength": str(progress.bytes_downloaded),
            "connections": "1" if is_active else "0",
            "dir": self.folder(view.job),
            "downloadSpeed": str(_speed(view)),
            "gid": gid_of(view.job.id),
            "numPieces": str(-(-total // PIECE)),
            "pieceLength": str(PIECE),
            "status": STATES[view.status],
            "totalLength": str(total),
            "uploadLength": "0",
            "uploadSpeed": "0",
            **_error(view),
        }
        if not keys or "files" in keys:
            found["files"] = self.files(view)
        return {name: found[name] for name in found if name in keys} if keys else found

    def files(self, view: JobView) -> list[dict[str, Any]]:
        """Return the one file of a job, as `aria2.getFiles` has it."""
        progress = view.progress
        file = {
            "completedLength": str(progress.bytes_downloaded),
            "index": "1",
            "length": str(progress.bytes_total or 0),
            "path": self._path(view),
            "selected": "true",
            "uris": self.uris(view),
        }
        return [file]

    def uris(self, view: JobView) -> list[dict[str, str]]:
        """Return its URL and its mirrors, as `aria2.getUris` has them."""
        first, *others = self._urls(view.job)
        is_used = view.status in RUNNING or view.is_finished
        uses = ["used" if is_used else "waiting", *("waiting" for _ in others)]
        return [
            {"status": use, "uri": url} for use, url in zip(uses, [first, *others], strict=True)
        ]

    def servers(self, view: JobView) -> list[dict[str, Any]]:
        """Return where an active job downloads from, as `aria2.getServers` has it."""
        url = self._urls(view.job)[0]
        server = {"currentUri": url, "downloadSpeed": str(_speed(view)), "uri": url}
        return [{"index": "1", "servers": [server]}]

    def folder(self, job: Job) -> str:
        """Return the folder of its file."""
        if job.directory not in self._folders:
            folder = job.directory
            with suppress(InvalidInputError):  # it was allowed when the job was accepted
                folder = str(self._runtime.resolve(job.directory))
            self._folders[job.directory] = folder
        return self._folders[job.directory]

    def _urls(self, job: Job) -> Sequence[str]:
        urls, is_whole = (job.url, *job.mirrors), changes(self._principal, job)
        self._spend(sum(map(len, urls)))
        return [display_url(url, secret=job.secret_url, whole=is_whole) for url in urls]

    def _path(self, view: JobView) -> str:
        """Return where its file is, or is to be; empty before that is known."""
        job, path = view.job, view.progress.path or view.job.path
        if path:
            return path
        has_started = view.status in RUNNING and not job.secret_url
        name = job.name or (name_from_url(job.url) if has_started else "")
        return f"{self.folder(job)}/{name}" if name else ""


def _speed(view: JobView) -> int:
    return round(view.progress.speed) if view.status in RUNNING else 0


def _error(view: JobView) -> dict[str, str]:
    """Return how a job has ended; nothing for one that has not."""
    if view.status is JobStatus.COMPLETED:
        return {"errorCode": "0", "errorMessage": ""}
    if view.status is JobStatus.CANCELLED:
        return {"errorCode": _REMOVED, "errorMessage": view.progress.reason or ""}
    if view.status is not JobStatus.FAILED:
        return {}
    code = error_code(view.progress.error_code or "")
    return {"errorCode": code, "errorMessage": view.progress.reason or ""}


def error_code(code: str) -> str:
    """Return aria2's number for one of our codes."""
    fitting = [start for start in _ERRORS if code.startswith(start)]
    return _ERRORS[max(fitting, key=len)] if fitting else _UNKNOWN
