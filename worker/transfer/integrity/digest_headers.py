"""Reads the digests of a file that an origin sends in headers. Invalid ones are ignored."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping

from domain.errors import InvalidInputError
from domain.files import Checksum

#: Algorithms by their names in RFC 9530, RFC 3230 and Google's header.
_NAMES = {
    "sha-256": "sha256",
    "sha-512": "sha512",
    "sha": "sha1",
    "sha-1": "sha1",
    "md5": "md5",
    "crc32c": "crc32c",
}
#: The strongest first.
_STRENGTH = ("sha512", "sha256", "sha1", "md5", "crc32c")

#: All headers that `_members` reads; most responses have none of them.
_FIELDS = frozenset({"repr-digest", "content-digest", "digest", "x-goog-hash", "content-md5"})

#: A member of a structured dictionary with a byte sequence (RFC 9651): ``sha-256=:base64:``.
_STRUCTURED = re.compile(
    r"\s*([a-z*][a-z0-9_.*-]*)\s*=\s*:([A-Za-z0-9+/=]*):\s*(?:;[^,]*)?", re.IGNORECASE
)
#: RFC 3230 and similar: ``SHA-256=base64``.
_PLAIN = re.compile(r"\s*([A-Za-z0-9-]+)\s*=\s*([A-Za-z0-9+/]+=*)\s*")


def origin_digests(headers: Mapping[str, str], status: int = 200) -> list[Checksum]:
    """Return the digests of the whole file as it is sent: the strongest first, one of each algorithm.

    Of two different digests of one algorithm, the first that `_members` yields is used.

    Args:
        headers: of a response with the whole file, names in lower case.
        status: of that response.
    """
    if not _FIELDS & headers.keys() or _is_transformed(headers, status):
        return []
    found: dict[str, Checksum] = {}
    for name, encoded in _members(headers, status):
        checksum = _checksum(_NAMES.get(name.lower()), encoded)
        if checksum is not None:
            found.setdefault(checksum.algorithm, checksum)
    return sorted(found.values(), key=lambda one: _STRENGTH.index(one.algorithm))


def _is_transformed(headers: Mapping[str, str], status: int) -> bool:
    """Return whether a proxy reports that it changed the content: 203, or warning 214."""
    return status == 203 or any(
        warning.strip().startswith("214") for warning in headers.get("warning", "").split(",")
    )


def _members(headers: Mapping[str, str], status: int) -> Iterator[tuple[str, str]]:
    """Yield (algorithm, encoded digest) from the headers that are about the bytes sent.

    | header | digest of | used |
    |---|---|---|
    | `Repr-Digest` (RFC 9530) | the whole file as encoded for this response | always |
    | `Content-Digest` (RFC 9530) | the body | except in a 206, whose body may be a part |
    | `Digest` (RFC 3230) | the whole file as encoded for this response | always |
    | `x-goog-hash` | the stored object | if it is sent as stored |
    | `Content-MD5` (RFC 1864) | the body | except in a 206 |

    Not used: an ETag that looks like MD5 (it is not one after a multipart upload),
    `x-amz-checksum-…` (with a suffix `-N`, or COMPOSITE, it is a digest of digests), and trailers,
    which arrive after everything is written.
    """
    whole_body = status != 206
    fields = ("repr-digest", "content-digest") if whole_body else ("repr-digest",)
    for member in ",".join(headers.get(field, "") for field in fields).split(","):
        if match := _STRUCTURED.fullmatch(member):
            yield match[1], match[2]
    plain = ("digest", "x-goog-hash") if _sends_what_is_stored(headers, status) else ("digest",)
    for member in ",".join(headers.get(field, "") for field in plain).split(","):
        if match := _PLAIN.fullmatch(member):
            yield match[1], match[2]
    if whole_body and "content-md5" in headers:
        yield "md5", headers["content-md5"].strip()


def _sends_what_is_stored(headers: Mapping[str, str], status: int) -> bool:
    """Return whether Google Cloud Storage sends an object as stored, not decompressed."""
    stored = headers.get("x-goog-stored-content-encoding", "identity").strip().lower()
    sent = headers.get("content-encoding", "identity").strip().lower()
    size, length = headers.get("x-goog-stored-content-length"), headers.get("content-length")
    same_size = status == 206 or None in {size, length} or size == length
    return stored == sent and same_size


def _checksum(algorithm: str | None, encoded: str) -> Checksum | None:
    if algorithm is None:
        return None
    try:
        digest = base64.b64decode(encoded, validate=True).hex()
        return Checksum.parse(f"{algorithm}:{digest}")
    except (binascii.Error, ValueError, InvalidInputError):
        return None
