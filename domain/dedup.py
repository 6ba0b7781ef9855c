"""Single flight: when two requests ask for the very same, they are one download."""

from __future__ import annotations

import hashlib
import json
from pathlib import PurePosixPath

from domain.request import DownloadRequest
from domain.urls import canonical_url


def request_fingerprint(request: DownloadRequest, secrets: str | None) -> str:
    """Return 64 hexadecimal digits that two requests share when they ask for the very same.

    That is: the same URL (in its canonical form), for the same user, with the same headers, login and
    cookies, to the same folder and name, with the same demands on the file. How it is fetched (mirrors,
    connections, attempts, priority) makes no difference.

    Args:
        request: what is asked for.
        secrets: a mark of its headers, login and cookies that does not give them away; None without any.
    """
    same = [
        canonical_url(request.url),
        request.user_id,
        secrets,
        str(PurePosixPath(request.directory)),
        request.name,
        request.overwrite,
        request.checksum,
        request.max_bytes,
        request.decode,
    ]
    if request.ignore_origin_digests:
        # Only then: jobs that were submitted before there was this keep their fingerprints.
        same.append("ignore_origin_digests")
    return hashlib.sha256(json.dumps(same).encode()).hexdigest()


def scoped_key(request: DownloadRequest) -> str | None:
    """Return the request's idempotency key as the database keeps it: a digest, its user's own."""
    if request.idempotency_key is None:
        return None
    scope = json.dumps([request.user_id, request.idempotency_key])
    return hashlib.sha256(scope.encode()).hexdigest()
