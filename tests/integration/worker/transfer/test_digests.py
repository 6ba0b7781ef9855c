"""Digests that the caller or the origin names: a file that does not have them is never published."""

from __future__ import annotations

import hashlib
from dataclasses import replace as changed
from typing import Any

import google_crc32c
import pytest

from domain.job import JobStatus
from tests.support.origins import misbehaviour as does
from tests.support.origins.behaviour import Plan, Request
from tests.support.origins.content import GeneratedContent
from tests.support.origins.misbehaviour import Respond
from tests.support.origins.origin import Origin
from tests.support.services.transferring import Downloads

S = JobStatus
SIZE = 2_500_000

FIELDS = {
    "Repr-Digest": does.repr_digest(sha_256=True),
    "Repr-Digest, SHA-512": does.repr_digest(sha_512=True),
    "Digest": does.digest(),
    "Content-MD5": does.content_md5(),
}
WRONG_FIELDS = {
    "Repr-Digest": does.repr_digest(sha_256=False),
    "Repr-Digest, the stronger one": does.repr_digest(sha_256=True, sha_512=False),
    "Digest": does.digest(right=False),
    "Content-MD5": does.content_md5(right=False),
}


@pytest.mark.parametrize("respond", FIELDS.values(), ids=FIELDS)
@pytest.mark.parametrize("rate", [None, 3_000_000], ids=["one stream", "ranges"])
def test_a_promise_that_is_kept(
    downloads: Downloads, origin: Origin, respond: Respond, rate: int | None
) -> None:
    """A Content-MD5 of a range is of that range alone; it must not be taken for the file's."""
    file = origin.serve("/a.bin", size=SIZE, respond=respond, bytes_per_second=rate)

    job = downloads.run(file.url)

    assert (job.status, job.sha256) == (S.COMPLETED, file.sha256)


@pytest.mark.parametrize("respond", WRONG_FIELDS.values(), ids=WRONG_FIELDS)
def test_a_promise_that_is_broken_twice(
    downloads: Downloads, origin: Origin, respond: Respond
) -> None:
    file = origin.serve("/a.bin", size=SIZE, respond=respond)

    job = downloads.run(file.url)

    assert (job.status, job.error_code) == (S.FAILED, "checksum_mismatch")
    assert [one.range for one in origin.requests] == [None, None]
    assert list(downloads.system.downloads.iterdir()) == []


def test_a_promise_is_remembered_by_the_next_attempt(downloads: Downloads, origin: Origin) -> None:
    """The response that it continues with has none."""
    respond = does.once(does.repr_digest(sha_256=False))
    file = origin.serve("/a.bin", size=SIZE, respond=respond, reset_after=1_000_000, faults=1)
    job = downloads.run(file.url)
    assert job.bytes_durable == 1_000_000

    job = downloads.run_again(job)

    # The rest did not fit, and a file fetched whole, from an answer without promise, is one.
    assert [one.first for one in origin.requests] == [0, 1_000_000, 0]
    assert (job.status, job.sha256) == (S.COMPLETED, file.sha256)


@pytest.mark.parametrize(
    "damage",
    [
        lambda plan: changed(plan, content=GeneratedContent("damaged", plan.content.size)),
        lambda plan: changed(plan, content=GeneratedContent("damaged", plan.content.size - 1)),
    ],
    ids=["other bytes", "fewer bytes"],
)
def test_a_file_damaged_on_its_way_is_fetched_again(
    downloads: Downloads, origin: Origin, damage: Any
) -> None:
    def once(request: Request, plan: Plan) -> Plan:
        if request.number > 1:
            return plan
        damaged: Plan = damage(plan)
        damaged.stop = damaged.content.size
        damaged.headers["Content-Length"] = str(damaged.length)
        return damaged

    file = origin.serve("/a.bin", size=SIZE, respond=once)

    job = downloads.run(file.url, checksum=f"sha256:{file.sha256}")

    assert (job.status, job.sha256) == (S.COMPLETED, file.sha256)
    assert len(origin.requests) == 2


def _crc32c(data: bytes) -> str:
    return f"{google_crc32c.value(data):08x}"


@pytest.mark.parametrize("algorithm", ["md5", "sha1", "sha256", "sha512", "blake2b", "crc32c"])
def test_every_algorithm_of_the_caller(
    downloads: Downloads, origin: Origin, algorithm: str
) -> None:
    file = origin.serve("/a.bin", size=SIZE, bytes_per_second=5_000_000)
    data = file.body_slice(0, SIZE)
    right = _crc32c(data) if algorithm == "crc32c" else hashlib.new(algorithm, data).hexdigest()
    wrong = ("0" if right[0] != "0" else "1") + right[1:]

    good = downloads.run(file.url, checksum=f"{algorithm}:{right}")
    bad = downloads.run(file.url, checksum=f"{algorithm}:{wrong}", name="b.bin")

    assert (good.status, good.sha256) == (S.COMPLETED, file.sha256)
    assert (bad.status, bad.error_code) == (S.FAILED, "checksum_mismatch")


# ── what an origin names and what it sends ──────────────────────────────────────────────────────


def test_hash_of_an_object_that_was_unpacked_on_the_way_is_not_checked(
    downloads: Downloads, origin: Origin
) -> None:
    """Google Cloud Storage, of an object that is stored with gzip, to a client that takes none."""
    fields = {"x-goog-hash": "crc32c=AAAAAA==", "x-goog-stored-content-encoding": "gzip"}
    file = origin.serve("/a.bin", size=SIZE, extra_headers=fields)
    job = downloads.run(file.url)
    assert (job.status, job.sha256) == (S.COMPLETED, file.sha256)


def test_hash_in_several_fields_of_one_name_is_read(downloads: Downloads, origin: Origin) -> None:
    fields = {"x-goog-hash": "crc32c=????", "X-Goog-Hash": "md5=AAAAAAAAAAAAAAAAAAAAAA=="}
    file = origin.serve("/a.bin", size=SIZE, extra_headers=fields)
    assert downloads.run(file.url).error_code == "checksum_mismatch"


@pytest.mark.parametrize("respond", WRONG_FIELDS.values(), ids=WRONG_FIELDS)
def test_promise_of_the_origin_can_be_ignored(
    downloads: Downloads, origin: Origin, respond: Respond
) -> None:
    file = origin.serve("/a.bin", size=SIZE, respond=respond)
    job = downloads.run(file.url, ignore_origin_digests=True)
    assert (job.status, job.sha256) == (S.COMPLETED, file.sha256)


def test_checksum_of_the_caller_counts_where_the_origin_is_ignored(
    downloads: Downloads, origin: Origin
) -> None:
    file = origin.serve("/a.bin", size=SIZE, respond=does.digest(right=False))
    job = downloads.run(file.url, ignore_origin_digests=True, checksum=f"sha256:{'0' * 64}")
    assert (job.status, job.error_code) == (S.FAILED, "checksum_mismatch")
