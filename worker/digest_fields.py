"""What an origin's header says the digest of a file is. Whatever cannot be read is left out, never
raised.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping

from domain.errors import InvalidInputError
from domain.job import Checksum

#: Our names by those of RFC 9530 and RFC 3230, and of Google's own field.
_NAMES = {
    "sha-256": "sha256",
    "sha-512": "sha512",
    "sha": "sha1",
    "sha-1": "sha1",
    "md5": "md5",
    "crc32c": "crc32c",
}
#: The stronger come first.
_STRENGTH = ("sha512", "sha256", "sha1", "md5", "crc32c")

#: A member of a structured dictionary whose value is a byte sequence (RFC 9651): ``sha-256=:base64:``.
_STRUCTURED = re.compile(
    r"\s*([a-z*][a-z0-9_.*-]*)\s*=\s*:([A-Za-z0-9+/=]*):\s*(?:;[^,]*)?", re.IGNORECASE
)
#: RFC 3230 and its like: ``SHA-256=base64``.
_PLAIN = re.compile(r"\s*([A-Za-z0-9-]+)\s*=\s*([A-Za-z0-9+/]+=*)\s*")


def promised_digests(headers: Mapping[str, str]) -> list[Checksum]:
    """Return the digests of the whole file as it is sent, the strongest first, one of each kind.

    Args:
        headers: field names in lower case. Of a response with the whole file: a 206 may carry a
            Content-MD5 of its part.

    Read are `Repr-Digest` (RFC 9530), `Digest` (RFC 3230), `Content-MD5` (RFC 1864) and
    `x-goog-hash`. Of two that contradict each other in one kind the first of these counts.
    """
    found: dict[str, Checksum] = {}
    for name, encoded in _members(headers):
        checksum = _checksum(_NAMES.get(name.lower()), encoded)
        if checksum is not None:
            found.setdefault(checksum.algorithm, checksum)
    return sorted(found.values(), key=lambda one: _STRENGTH.index(one.algorithm))


def _members(headers: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for member in headers.get("repr-digest", "").split(","):
        if match := _STRUCTURED.fullmatch(member):
            yield match[1], match[2]
    for field in ("digest", "x-goog-hash"):
        for member in headers.get(field, "").split(","):
            if match := _PLAIN.fullmatch(member):
                yield match[1], match[2]
    if "content-md5" in headers:
        yield "md5", headers["content-md5"].strip()


def _checksum(algorithm: str | None, encoded: str) -> Checksum | None:
    if algorithm is None:
        return None
    try:
        digest = base64.b64decode(encoded, validate=True).hex()
        return Checksum.parse(f"{algorithm}:{digest}")
    except (binascii.Error, ValueError, InvalidInputError):
        return None
