"""Digests that origins promise: what each field means, and what is not believed."""

from __future__ import annotations

import hashlib
from base64 import b64encode

import google_crc32c
import pytest

from worker.digest_fields import promised_digests
from worker.hashing import new_hasher

#: The example content of RFC 9530, appendix B.1.
HELLO = b'{"hello": "world"}\n'
SHA256 = b64encode(hashlib.sha256(HELLO).digest()).decode()
SHA512 = b64encode(hashlib.sha512(HELLO).digest()).decode()
MD5 = b64encode(hashlib.md5(HELLO).digest()).decode()
CRC32C = b64encode(google_crc32c.Checksum(HELLO).digest()).decode()


def test_the_example_of_the_standard() -> None:
    sent = "RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg="
    assert sent == SHA256
    [found] = promised_digests({"repr-digest": f"sha-256=:{sent}:"})
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
    found = promised_digests(headers)
    assert [one.algorithm for one in found] == algorithms
    for one in found:
        hasher = new_hasher(one.algorithm)
        hasher.update(memoryview(HELLO))
        assert one.digest == hasher.hexdigest()


def test_the_newer_field_counts_where_two_contradict_each_other() -> None:
    other = b64encode(b"x" * 32).decode()
    [found] = promised_digests({"digest": f"sha-256={other}", "repr-digest": f"sha-256=:{SHA256}:"})
    assert found.digest == hashlib.sha256(HELLO).hexdigest()


def test_the_check_value_of_crc32c() -> None:
    """The one that catalogues of CRCs give for "123456789"."""
    hasher = new_hasher("crc32c")
    hasher.update(memoryview(b"12345"))
    hasher.update(memoryview(b"6789"))
    assert hasher.hexdigest() == "e3069283"
