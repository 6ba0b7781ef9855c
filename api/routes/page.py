"""The live page: its files, from memory. Its address is `/`; it has no data, so it needs no sign-in."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from domain.remedies import downloads

router = APIRouter(include_in_schema=False)

FOLDER = Path(__file__).parents[1] / "page"
#: What browsers get; other files of the folder, such as licences, are for readers of the source.
MEDIA_TYPES: Mapping[str, str] = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
#: Own files alone, and no code or style in the document; scripts may set styles.
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
#: The path of a file changes with the content of all of them.
_FOREVER = "public, max-age=31536000, immutable"
_BASE = b"{{base}}"


@dataclass(frozen=True)
class PageFile:
    """A file as it is sent.

    Attributes:
        media_type: its Content-Type.
        content: its bytes.
    """

    media_type: str
    content: bytes

    @cached_property
    def etag(self) -> str:
        """Its entity tag."""
        return f'"{hashlib.sha256(self.content).hexdigest()[:20]}"'

    @cached_property
    def compressed(self) -> bytes:
        """The same with gzip."""
        return gzip.compress(self.content, 9, mtime=0)


@dataclass(frozen=True)
class Page:
    """All files of the page.

    Attributes:
        version: a digest of all of them.
        files: by their path in the folder.
        index: the document, with the addresses of the others.
    """

    version: str
    files: Mapping[str, PageFile]
    index: PageFile


@lru_cache(maxsize=1)
def page() -> Page:
    """Read the files, once in a process."""
    files = dict(sorted([*_read(), _remedies()]))
    digest = hashlib.sha256()
    for name, file in files.items():
        digest.update(f"{name}\0{len(file.content)}\0".encode() + file.content)
    version = digest.hexdigest()[:16]
    index = files.pop("index.html")
    document = index.content.replace(_BASE, f"/page/{version}".encode())
    return Page(version, files, PageFile(index.media_type, document))


def _read() -> Iterator[tuple[str, PageFile]]:
    for path in FOLDER.rglob("*"):
        media_type = MEDIA_TYPES.get(path.suffix)
        if media_type is not None:
            yield path.relative_to(FOLDER).as_posix(), PageFile(media_type, path.read_bytes())


def _remedies() -> tuple[str, PageFile]:
    """Return what to do about failed downloads, as a module: commands have the same table."""
    table = json.dumps(dict(downloads.BY_CODE), indent=2)
    content = f"// By the code of the error.\nexport const REMEDIES = {table};\n"
    return "remedies.js", PageFile(MEDIA_TYPES[".js"], content.encode())


@router.get("/")
def index(request: Request) -> Response:
    """Return the document; browsers ask each time whether it has changed."""
    return _answer(request, page().index, "no-cache")


@router.get("/page/{version}/{path:path}")
def file(request: Request, version: str, path: str) -> Response:
    """Return a file of this version, which browsers keep."""
    found = page()
    if version != found.version or path not in found.files:
        raise HTTPException(404)
    return _answer(request, found.files[path], _FOREVER)


def _answer(request: Request, file: PageFile, caching: str) -> Response:
    headers = {
        "Content-Security-Policy": POLICY,
        "Cache-Control": caching,
        "ETag": file.etag,
        "Vary": "Accept-Encoding",
    }
    if file.etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    if not _takes_gzip(request.headers.get("accept-encoding", "")):
        return Response(file.content, media_type=file.media_type, headers=headers)
    headers["Content-Encoding"] = "gzip"
    return Response(file.compressed, media_type=file.media_type, headers=headers)


def _takes_gzip(accepted: str) -> bool:
    """Return whether an Accept-Encoding has gzip, with a weight above 0."""
    return (
        re.search(r"(?i)(?:^|,)\s*gzip\s*(?:,|$|;\s*q=(?!0(?:\.0*)?\s*(?:,|$)))", accepted)
        is not None
    )
