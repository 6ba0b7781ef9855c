"""Deduplication: two requests for the same thing are one job."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from pathlib import PurePosixPath

from domain.request import DownloadRequest
from domain.urls import canonical_url


def request_fingerprint(request: DownloadRequest, secrets: str | None) -> str:
    """Return 64 hexadecimal digits that are equal for two requests for the same thing.

    Compared are the URL in its canonical form, the user, the headers, login and cookies, the folder and
    name, the demands on the file, and the webhook. The way of fetching it makes no difference: mirrors,
    connections, attempts, priority.

    Args:
        request: the request.
        secrets: a fingerprint of its headers, login and cookies; None without any.
    """
    same = [
        canonical_url(request.url),
        request.user_id,
        secrets,
        _plain_path(request.directory),
        request.name,
        request.overwrite,
        request.checksum,
        request.max_bytes,
        request.decode,
    ]
    if request.ignore_origin_digests:
        # Only if set, so that the fingerprints of jobs from before this field stay the same.
        same.append("ignore_origin_digests")
    if request.webhook is not None:
        # Also only if set. A job for another webhook would not call this one.
        same.append(f"webhook {request.webhook}")
    return hashlib.sha256(json.dumps(same).encode()).hexdigest()


@lru_cache(maxsize=64)  # many requests of a call have one folder
def _plain_path(directory: str) -> str:
    return str(PurePosixPath(directory))


def scoped_key(request: DownloadRequest) -> str | None:
    """Return the idempotency key as it is stored: a digest of it and its user."""
    if request.idempotency_key is None:
        return None
    scope = json.dumps([request.user_id, request.idempotency_key])
    return hashlib.sha256(scope.encode()).hexdigest()
