"""`GET /v1/downloads/{id}/file`: the file of a completed download, whole or a range of it (RFC 9110)."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Iterator
from email.utils import formatdate, parsedate_to_datetime
from typing import Annotated, Any, NamedTuple
from urllib.parse import quote

from fastapi import APIRouter, Depends, Request, Response
from starlette.exceptions import HTTPException
from starlette.responses import StreamingResponse

from api.authentication import CheckedRoute, FileReader
from api.documented import problems
from api.models.fields import JobId
from api.routes.downloads import find
from api.services import TheServices
from domain.access import Scope
from tasks.api.published_file import PublishedFile, open_published_file

router = APIRouter(prefix="/v1", tags=["files"], route_class=CheckedRoute)

_TYPE = "application/octet-stream"
_CHUNK = 256 * 1024
_RANGE = re.compile(r"bytes=\s*(?:(\d{1,19})-(\d{0,19})|-(\d{1,19}))\s*")
_UNSAFE = re.compile(r"[^A-Za-z0-9 !#$&+.^_`|~()\[\]{}@=,-]")
#: A file of any content is never a page of this origin.
_SANDBOX = "sandbox; default-src 'none'; frame-ancestors 'none'"
_CONTENT = {
    "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"description": "The whole file.", **_CONTENT},
    206: {"description": "The range that was asked for.", **_CONTENT},
    304: {"description": "The caller has this content already."},
    **problems(404, 409, 410, 416),
}


class _Range(NamedTuple):
    """Bytes of a file, from the first one to before `end`."""

    start: int
    end: int


def _opened(services: TheServices, principal: FileReader, job_id: JobId) -> Iterator[PublishedFile]:
    """Open the file; FastAPI goes on here when the response is sent, or the client has gone."""
    job = find(services, principal, Scope.FILES, job_id)
    opened = open_published_file(job, services.runtime.files_dir)
    try:
        yield opened
    finally:
        os.close(opened.descriptor)


@router.get("/downloads/{job_id}/file", response_class=Response, responses=_ANSWERS)
@router.head("/downloads/{job_id}/file", response_class=Response, responses=_ANSWERS)
def file(request: Request, opened: Annotated[PublishedFile, Depends(_opened)]) -> Response:
    """Return the file of a completed download. A request for several ranges gets the whole file."""
    return _answer(request, opened)


def _answer(request: Request, opened: PublishedFile) -> Response:
    headers = _headers(opened)
    if _is_current(request, opened, headers):
        return Response(status_code=304, headers=headers)
    wanted = _range(request, opened, headers) if request.method == "GET" else None
    part = wanted or _Range(0, opened.size)
    headers["Content-Length"] = str(part.end - part.start)
    if wanted is not None:
        headers["Content-Range"] = f"bytes {part.start}-{part.end - 1}/{opened.size}"
    status = 200 if wanted is None else 206
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type=_TYPE)
    return StreamingResponse(_chunks(opened, part), status, headers, media_type=_TYPE)


def _chunks(opened: PublishedFile, part: _Range) -> Iterator[bytes]:
    position = part.start
    while position < part.end:
        data = os.pread(opened.descriptor, min(_CHUNK, part.end - position), position)
        if not data:  # it was cut meanwhile: the response ends short, which the client notices
            return
        position += len(data)
        yield data


def _headers(opened: PublishedFile) -> dict[str, str]:
    headers = {
        "ETag": _etag(opened),
        "Last-Modified": formatdate(opened.modified_at, usegmt=True),
        "Accept-Ranges": "bytes",
        "Content-Disposition": disposition(opened.name),
        "Content-Security-Policy": _SANDBOX,
        "Cache-Control": "private, no-cache",
    }
    if opened.sha256 is not None:
        digest = base64.b64encode(bytes.fromhex(opened.sha256)).decode()
        headers["Repr-Digest"] = f"sha-256=:{digest}:"
    return headers


def _etag(opened: PublishedFile) -> str:
    """Return a strong validator: the digest of the content; without one, when it was last changed."""
    return f'"{opened.sha256 or f"{opened.size:x}-{opened.changed_ns:x}"}"'


def disposition(name: str) -> str:
    """Return a Content-Disposition header for a name of any characters (RFC 6266)."""
    plain = _UNSAFE.sub("_", name.encode("utf-8", "replace").decode())
    encoded = quote(name.encode("utf-8", "replace"), safe="")
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{encoded}"


def _is_current(request: Request, opened: PublishedFile, headers: dict[str, str]) -> bool:
    """Return whether the caller has this content (If-None-Match, or If-Modified-Since without it)."""
    tags = request.headers.get("if-none-match")
    if tags is not None:
        return any(
            one.strip().removeprefix("W/") in {"*", headers["ETag"]} for one in tags.split(",")
        )
    since = _time(request.headers.get("if-modified-since"))
    return since is not None and int(opened.modified_at) <= since


def _range(request: Request, opened: PublishedFile, headers: dict[str, str]) -> _Range | None:
    """Return the range that is asked for; None for the whole file.

    Raises:
        HTTPException: the file has no byte of it (416).
    """
    found = _RANGE.fullmatch(request.headers.get("range", ""))
    if found is None or not _is_same(request.headers.get("if-range"), opened, headers):
        return None
    first, last, suffix = found.groups()
    if suffix is not None:
        start, end = max(0, opened.size - int(suffix)), opened.size
    else:
        start = int(first)
        end = min(opened.size, int(last) + 1) if last else opened.size
        if last and int(last) < start:
            return None  # not valid, so it is ignored
    if start >= end:
        detail = f"The file has {opened.size} bytes, and none of this range."
        raise HTTPException(416, detail, {"Content-Range": f"bytes */{opened.size}"})
    return _Range(start, end)


def _is_same(validator: str | None, opened: PublishedFile, headers: dict[str, str]) -> bool:
    """Return whether If-Range, if there is one, is of this content."""
    if validator is None or validator == headers["ETag"]:
        return True
    return _time(validator) == int(opened.modified_at)


def _time(text: str | None) -> float | None:
    """Return an HTTP date in seconds since the epoch."""
    try:
        return None if text is None else parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
