"""Lengths: none, unknown, promised and not kept, and more than is allowed. And encodings."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from domain.job import JobStatus
from tests.support.origins import misbehaviour as does
from tests.support.origins.origin import Origin
from tests.support.services.system import System
from tests.support.services.transferring import QUICK, Direct, Downloads

S = JobStatus
SIZE = 700_000

FRAMINGS = {
    "a length": {},
    "chunks": {"chunked": True},
    "no length": {"send_length": False},
    "HTTP/1.0": {"respond": does.old_version()},
}


@pytest.mark.parametrize("size", [0, 1, SIZE])
@pytest.mark.parametrize("framing", FRAMINGS.values(), ids=FRAMINGS)
def test_every_framing_of_every_size(
    downloads: Downloads, origin: Origin, framing: dict[str, Any], size: int
) -> None:
    file = origin.serve("/a.bin", size=size, **framing)

    job = downloads.run(file.url)

    assert (job.status, job.sha256, job.bytes_total) == (S.COMPLETED, file.sha256, size)


@pytest.mark.parametrize("size", [0, 1])
def test_a_tiny_file_that_was_once_larger(downloads: Downloads, origin: Origin, size: int) -> None:
    file = origin.serve("/a.bin", size=SIZE, reset_after=500_000, faults=1)
    job = downloads.run(file.url)
    file = origin.serve("/a.bin", size=size, seed="another")

    assert downloads.run_again(job).sha256 == file.sha256


def test_a_body_that_is_longer_than_its_length_is_no_file(
    downloads: Downloads, origin: Origin
) -> None:
    """Either of the two may be wrong: the file is cut off there, or it is an error."""
    file = origin.serve("/a.bin", size=SIZE, lie_length=-1000)

    job = downloads.run(file.url)

    if job.status is S.COMPLETED:
        assert job.bytes_total == SIZE - 1000
        [path] = downloads.published()
        assert path.read_bytes() == file.body_slice(0, SIZE - 1000)
    else:
        assert job.error_code == "too_long"


def test_a_body_that_is_shorter_than_its_length(downloads: Downloads, origin: Origin) -> None:
    job = downloads.run(origin.serve("/a.bin", size=SIZE, lie_length=1000).url)

    assert (job.status, job.error_code) == (S.WAITING, "truncated")
    assert downloads.published() == []


# ── limits ──────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def limited(system: System) -> Iterator[Downloads]:
    """A service that takes files of half a megabyte."""
    downloads = Downloads(system, max_bytes=500_000)
    yield downloads
    downloads.close()


@pytest.mark.parametrize("framing", FRAMINGS.values(), ids=FRAMINGS)
def test_a_file_that_is_too_large_for_the_service(
    limited: Downloads, origin: Origin, framing: dict[str, Any]
) -> None:
    file = origin.serve("/a.bin", size=5_000_000, bytes_per_second=20_000_000, **framing)
    fits = origin.serve("/b.bin", size=500_000, **framing)

    job = limited.run(file.url)

    assert (job.status, job.error_code) == (S.FAILED, "too_large")
    assert list(limited.system.downloads.iterdir()) == []
    assert limited.run(fits.url).sha256 == fits.sha256


def test_the_lower_limit_counts(direct: Direct, origin: Origin) -> None:
    direct.options = replace(QUICK, max_bytes=500_000)
    url = origin.serve("/a.bin", size=400_000).url
    assert direct.failure(url, max_bytes=399_999) == "too_large"
    direct.fetch(url, max_bytes=900_000)
    assert len(direct.data) == 400_000


def test_an_endless_body_ends_at_the_limit(direct: Direct, origin: Origin) -> None:
    """Chunk after chunk without a length: only counting shows the size."""
    url = origin.serve("/a.bin", size=10_000_000_000, chunked=True).url
    assert direct.failure(url, max_bytes=3_000_000) == "too_large"
    assert direct.part.stat().st_size < 20_000_000


# ── encodings ───────────────────────────────────────────────────────────────────────────────────

PLAIN = b"the quick brown fox " * 40_000


def test_an_encoding_that_was_not_requested_is_stored_as_sent(
    downloads: Downloads, origin: Origin
) -> None:
    sent = gzip.compress(PLAIN)
    file = origin.serve("/a.txt", body=sent, content_encoding="gzip")

    job = downloads.run(file.url)

    assert (job.status, job.sha256) == (S.COMPLETED, file.sha256)
    assert downloads.published()[0].read_bytes() == sent
    assert origin.requests[0].headers["accept-encoding"] == "identity"


def test_an_encoded_file_is_continued_in_the_same_encoding_only(
    downloads: Downloads, origin: Origin
) -> None:
    sent = gzip.compress(PLAIN, 1)
    file = origin.serve(
        "/a.txt", body=sent, etag='"1"', content_encoding="gzip", reset_after=1000, faults=1
    )
    job = downloads.run(file.url)
    plain = origin.serve("/a.txt", body=PLAIN, etag='"1"')

    assert downloads.run_again(job).sha256 == plain.sha256


@pytest.mark.parametrize(
    ("encoding", "encode"), [("gzip", gzip.compress), ("deflate", zlib.compress)]
)
def test_an_encoding_is_undone_where_that_is_wanted(
    direct: Direct, origin: Origin, encoding: str, encode: Any
) -> None:
    url = origin.serve("/a.txt", body=encode(PLAIN), content_encoding=encoding).url

    fetched = direct.fetch(url, decode=True)

    assert (fetched.size, direct.data) == (len(PLAIN), PLAIN)
    assert direct.tracker is not None
    assert origin.requests[0].headers["accept-encoding"] == "identity"


def test_what_is_decoded_is_not_joined(direct: Direct, origin: Origin) -> None:
    sent = gzip.compress(PLAIN)
    file = origin.serve(
        "/a.txt", body=sent, content_encoding="gzip", reset_after=len(sent) // 2, faults=1
    )
    assert direct.failure(file.url, decode=True) == "reset"

    direct.fetch(file.url, decode=True)

    assert direct.data == PLAIN
    assert [one.range for one in origin.requests] == [None, None]


DAMAGED = {
    "cut off, as its length says": gzip.compress(PLAIN)[:-20],
    "no gzip at all": PLAIN[:5000],
    "damaged": gzip.compress(PLAIN)[:500] + b"\0" * 500 + gzip.compress(PLAIN)[1000:],
}


@pytest.mark.parametrize("body", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_encoding_is_an_error(direct: Direct, origin: Origin, body: bytes) -> None:
    url = origin.serve("/a.txt", body=body, content_encoding="gzip").url
    assert direct.failure(url, decode=True)


def test_a_bomb_ends_at_the_limit(direct: Direct, origin: Origin) -> None:
    bomb = gzip.compress(bytes(50_000_000), 9)
    url = origin.serve("/a.txt", body=bomb, content_encoding="gzip").url
    assert direct.failure(url, decode=True, max_bytes=1_000_000) == "too_large"
    assert direct.part.stat().st_size < 20_000_000


def test_a_digest_is_of_what_is_sent(direct: Direct, origin: Origin) -> None:
    """So it says nothing of what is stored decoded, and everything of what is stored as sent."""
    sent = gzip.compress(PLAIN)
    url = origin.serve(
        "/a.txt", body=sent, content_encoding="gzip", respond=does.repr_digest(sha_256=True)
    ).url
    direct.fetch(url, decode=True)
    assert direct.data == PLAIN
