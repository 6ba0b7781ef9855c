"""Digests that origins promise: what each field means, and what is not believed."""

from __future__ import annotations

import hashlib
from base64 import b64encode

import google_crc32c
import pytest

from worker.transfer.integrity.digest_headers import origin_digests
from worker.transfer.integrity.digests import new_hasher

#: The example content of RFC 9530, appendix B.1.
HELLO = b'{"hello": "world"}\n'
SHA256 = b64encode(hashlib.sha256(HELLO).digest()).decode()
SHA512 = b64encode(hashlib.sha512(HELLO).digest()).decode()
MD5 = b64encode(hashlib.md5(HELLO).digest()).decode()
CRC32C = b64encode(google_crc32c.Checksum(HELLO).digest()).decode()


def test_the_example_of_the_standard() -> None:
    sent = "RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg="
    assert sent == SHA256
    [found] = origin_digests({"repr-digest": f"sha-256=:{sent}:"})
    assert str(found) == f"sha256:{hashlib.sha256(HELLO).hexdigest()}"


@pytest.mark.parametrize(
    ("headers", "algorithms"),
    [
        ({"repr-digest": f"sha-256=:{SHA256}:, sha-512=:{SHA512}:"}, ["sha512", "sha256"]),
        ({"repr-digest": f"SHA-256=:{SHA256}:;q=1"}, ["sha256"]),
        ({"digest": f"SHA-256={SHA256},md5={MD5}"}, ["sha256", "md5"]),
        ({"digest": f"sha-512={SHA512}"}, ["sha512"]),
        ({"content-md5": MD5}, ["md5"]),
        ({"x-goog-hash": f"crc32c={CRC32C}, md5={MD5}"}, ["md5", "crc32c"]),
        ({"digest": f"unixsum=30637, md5={MD5}"}, ["md5"]),
        ({}, []),
        ({"repr-digest": f"sha-256={SHA256}"}, []),
        ({"repr-digest": "sha-256=:c2hvcnQ=:"}, []),
        ({"repr-digest": "sha-256=:not base64:"}, []),
        ({"digest": "SHA-256"}, []),
        ({"digest": "SHA-256=====, =x, ,"}, []),
        ({"content-md5": "???"}, []),
        ({"repr-digest": "\x00\xff" * 1000}, []),
    ],
)
def test_a_field_is_read_or_left_out(headers: dict[str, str], algorithms: list[str]) -> None:
    found = origin_digests(headers)
    assert [one.algorithm for one in found] == algorithms
    for one in found:
        hasher = new_hasher(one.algorithm)
        hasher.update(memoryview(HELLO))
        assert one.digest == hasher.hexdigest()


def test_the_newer_field_counts_where_two_contradict_each_other() -> None:
    other = b64encode(b"x" * 32).decode()
    [found] = origin_digests({"digest": f"sha-256={other}", "repr-digest": f"sha-256=:{SHA256}:"})
    assert found.digest == hashlib.sha256(HELLO).hexdigest()


GOOGLE = {"x-goog-hash": f"md5={MD5}"}
GZIP = {"content-encoding": "gzip"}

#: What the answer is, and the algorithms whose digests are of the bytes that it sends.
APPLIES = {
    "repr-digest of a whole file": (200, {"repr-digest": f"sha-256=:{SHA256}:"}, ["sha256"]),
    "repr-digest of a range": (206, {"repr-digest": f"sha-256=:{SHA256}:"}, ["sha256"]),
    "repr-digest of an encoded file": (
        200,
        {"repr-digest": f"sha-256=:{SHA256}:", **GZIP},
        ["sha256"],
    ),
    "content-digest of a whole file": (200, {"content-digest": f"sha-256=:{SHA256}:"}, ["sha256"]),
    "content-digest of a range": (206, {"content-digest": f"sha-256=:{SHA256}:"}, []),
    "digest of a range": (206, {"digest": f"md5={MD5}"}, ["md5"]),
    "content-md5 of a whole file": (200, {"content-md5": MD5}, ["md5"]),
    "content-md5 of a range": (206, {"content-md5": MD5}, []),
    "google, stored as sent": (200, GOOGLE, ["md5"]),
    "google, said to be stored as sent": (
        200,
        {**GOOGLE, "x-goog-stored-content-encoding": "identity"},
        ["md5"],
    ),
    "google, unpacked on the way": (200, {**GOOGLE, "x-goog-stored-content-encoding": "gzip"}, []),
    "google, sent packed": (
        200,
        {**GOOGLE, **GZIP, "x-goog-stored-content-encoding": "GZIP"},
        ["md5"],
    ),
    "google, packed on the way": (
        200,
        {**GOOGLE, **GZIP, "x-goog-stored-content-encoding": "identity"},
        [],
    ),
    "google, packed, who knows where": (200, {**GOOGLE, **GZIP}, []),
    "google, of another length": (
        200,
        {**GOOGLE, "x-goog-stored-content-length": "5", "content-length": "9"},
        [],
    ),
    "google, a range": (
        206,
        {**GOOGLE, "x-goog-stored-content-length": "9", "content-length": "5"},
        ["md5"],
    ),
    "changed by a proxy (203)": (203, {"digest": f"md5={MD5}"}, []),
    "changed by a proxy (214)": (
        200,
        {"digest": f"md5={MD5}", "warning": '110 a "stale", 214 b "unpacked"'},
        [],
    ),
    "another warning": (200, {"digest": f"md5={MD5}", "warning": '110 a "214 stale"'}, ["md5"]),
    "an etag like md5": (200, {"etag": f'"{hashlib.md5(HELLO).hexdigest()}"'}, []),
    "an etag of an upload in parts": (200, {"etag": f'"{hashlib.md5(HELLO).hexdigest()}-3"'}, []),
    "s3": (200, {"x-amz-checksum-sha256": SHA256}, []),
    "s3, of parts": (
        200,
        {"x-amz-checksum-sha256": f"{SHA256}-3", "x-amz-checksum-type": "COMPOSITE"},
        [],
    ),
}


@pytest.mark.parametrize(("status", "headers", "algorithms"), APPLIES.values(), ids=APPLIES)
def test_promise_counts_where_it_is_of_the_bytes_that_are_sent(
    status: int, headers: dict[str, str], algorithms: list[str]
) -> None:
    assert [one.algorithm for one in origin_digests(headers, status)] == algorithms


def test_the_check_value_of_crc32c() -> None:
    """The one that catalogues of CRCs give for "123456789"."""
    hasher = new_hasher("crc32c")
    hasher.update(memoryview(b"12345"))
    hasher.update(memoryview(b"6789"))
    assert hasher.hexdigest() == "e3069283"
