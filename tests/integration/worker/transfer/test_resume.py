"""A broken download continues where it may, and restarts, visibly, where it may not."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from domain.job import JobStatus
from tests.support.origins import misbehaviour as does
from tests.support.origins.behaviour import Fault, Plan, Request
from tests.support.origins.origin import Origin, ServedFile
from tests.support.services.running import run_download
from tests.support.services.system import client_runtime
from tests.support.services.transferring import QUICK, Direct, Downloads
from worker.outcome import Outcome

SIZE, KEPT = 400_000, 250_000
OLD = "Wed, 21 Oct 2015 07:28:00 GMT"


def serve_cut(origin: Origin, **behaviour: Any) -> ServedFile:
    """A file whose first answer is reset after `KEPT` bytes."""
    return origin.serve("/a.bin", size=SIZE, reset_after=KEPT, faults=1, **behaviour)


JOINED = {
    "by its tag": ({}, ['"tag"'], [206]),
    "by its date": ({"etag": None, "last_modified": OLD}, [OLD], [206]),
    "by its date, where its own tag is not taken": (
        {"last_modified": OLD, "respond": does.only_by_date()},
        ['"tag"', OLD],
        [200, 206],
    ),
    "chunked": ({"chunked": True}, ['"tag"'], [206]),
    "where the first answer had no length": ({"send_length": False}, ['"tag"'], [206]),
}


@pytest.mark.parametrize(("behaviour", "asked", "statuses"), JOINED.values(), ids=JOINED)
def test_what_vouches_for_its_bytes_is_continued(
    downloads: Downloads,
    origin: Origin,
    behaviour: dict[str, Any],
    asked: list[str],
    statuses: list[int],
) -> None:
    file = serve_cut(origin, **{"etag": '"tag"', **behaviour})

    job = downloads.run(file.url, attempts=2)

    assert (job.status, job.sha256) == (JobStatus.COMPLETED, file.sha256)
    _, *more = origin.requests_for("/a.bin")
    assert [one.headers["if-range"] for one in more] == asked
    assert [one.status for one in more] == statuses
    assert more[-1].first == KEPT


RESTARTS = {
    "it has neither tag nor date": {"etag": None},
    "it has a weak tag": {"etag": 'W/"1"'},
    "it sends all of it": {"ranges": False},
    "416, and the file is said to be shorter": {"respond": does.unsatisfiable("bytes */1000")},
    "416, and the file is said to be as long as it was": {
        "respond": does.unsatisfiable(f"bytes */{SIZE}")
    },
    "416 without Content-Range": {"respond": does.unsatisfiable(None)},
    "another start": {
        "respond": does.content_range(
            lambda first, last, total: f"bytes {first - 1}-{last}/{total}"
        )
    },
    "an end beyond the total": {
        "respond": does.content_range(lambda first, last, total: f"bytes {first}-{total}/{total}")
    },
    "another total": {
        "respond": does.content_range(
            lambda first, last, total: f"bytes {first}-{last}/{total + 9}"
        )
    },
    "no Content-Range": {"respond": does.content_range(None)},
    "several parts": {"respond": does.several_parts()},
}


@pytest.mark.parametrize("behaviour", RESTARTS.values(), ids=RESTARTS)
def test_a_download_that_cannot_be_continued_restarts(
    downloads: Downloads, origin: Origin, behaviour: dict[str, Any]
) -> None:
    file = serve_cut(origin, **behaviour)

    job = downloads.run(file.url, attempts=2)

    assert (job.status, job.sha256) == (JobStatus.COMPLETED, file.sha256)


@pytest.mark.parametrize("size", [SIZE, SIZE - 1, KEPT, KEPT - 1000, SIZE * 2])
def test_a_file_that_has_changed_meanwhile_is_fetched_whole(
    downloads: Downloads, origin: Origin, size: int
) -> None:
    """This origin says so only by another tag: it sends the range that was asked for, if it has it."""
    file = serve_cut(origin, respond=does.changes_after(1, size=size))
    changed = does.changed_file(file, size=size)

    job = downloads.run(file.url, attempts=2)

    assert (job.status, job.sha256) == (JobStatus.COMPLETED, changed.sha256)


def reset_at_the_end(_request: Request, plan: Plan) -> Plan:
    plan.fault = Fault("reset", plan.length)
    return plan


def test_a_416_that_means_complete_ends_the_file(downloads: Downloads, origin: Origin) -> None:
    """All bytes have come, then the connection broke: only the next attempt learns that it is all."""
    file = origin.serve("/a.bin", size=SIZE, chunked=True, respond=does.once(reset_at_the_end))

    job = downloads.run(file.url, attempts=2)

    assert (job.status, job.sha256) == (JobStatus.COMPLETED, file.sha256)
    _, second = origin.requests_for("/a.bin")
    assert (second.status, second.range) == (416, (SIZE, None))


def test_a_refusal_in_between_costs_no_bytes(downloads: Downloads, origin: Origin) -> None:
    file = serve_cut(origin, statuses=[200, 503, 429, 502])

    job = downloads.run(file.url, attempts=5, max_attempts=9)

    assert (job.status, job.sha256) == (JobStatus.COMPLETED, file.sha256)
    assert origin.requests_for("/a.bin")[-1].first == KEPT


def test_another_worker_goes_on_from_the_same_checkpoint(
    downloads: Downloads, origin: Origin
) -> None:
    file = serve_cut(origin)
    job = downloads.run(file.url)
    assert job.bytes_durable == KEPT
    with ExitStack() as stack:
        other = client_runtime(downloads.system.variables)
        stack.callback(other.close)
        downloads.make_due()

        assert run_download(replace(other, worker="elsewhere:1"), job.id) is Outcome.COMPLETED

    assert downloads.check(job).sha256 == file.sha256
    assert [one.first for one in origin.requests_for("/a.bin")] == [0, KEPT]


def test_pieces_that_lie_apart_are_all_kept(tmp_path: Path, origin: Origin) -> None:
    """Every connection breaks once; what is asked for after that is what is missing, and no more."""
    file = origin.serve("/a.bin", size=2_000_000, bytes_per_second=2_000_000)
    direct = Direct(tmp_path / "direct", options=replace(QUICK, low_speed_time=1))

    def broken(request: Request, plan: Plan) -> Plan:
        if request.number > 4:
            return does.status(503)(request, plan)
        if request.number > 1:
            plan = does.resets_every(100_000)(request, plan)
        return plan

    file.behave(respond=broken, hang_after=900_000, faults=1)
    assert direct.failure(file.url) in {"http_503", "reset", "timeout"}
    kept = direct.kept
    assert len(kept) > 1, "the test is to have a gap"
    before = len(origin.requests_for("/a.bin"))
    file.behave(respond=None, hang_after=None)

    direct.fetch(file.url)

    assert direct.data == file.body_slice(0, file.size)
    for one in origin.requests_for("/a.bin")[before:]:
        assert not any(start <= one.first < end for start, end in kept), "a kept byte was asked for"


def test_a_checkpoint_without_its_bytes_vouches_for_nothing(direct: Direct, origin: Origin) -> None:
    file = serve_cut(origin)
    assert direct.failure(file.url) == "reset"
    direct.part.write_bytes(b"")

    direct.fetch(file.url)

    assert direct.data == file.body_slice(0, SIZE)


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"[]", b'{"written": [[0, 999999999]]}', b"\0" * 200]
)
def test_a_damaged_checkpoint_vouches_for_nothing(
    direct: Direct, origin: Origin, damage: bytes
) -> None:
    file = serve_cut(origin)
    assert direct.failure(file.url) == "reset"
    direct.checkpoint.write_bytes(damage)
    direct.part.write_bytes(b"x" * SIZE)

    direct.fetch(file.url)

    assert direct.data == file.body_slice(0, SIZE)
    assert origin.requests_for("/a.bin")[-1].range is None


def test_another_url_does_not_continue_this_ones_bytes(direct: Direct, origin: Origin) -> None:
    """A checkpoint is of a URL: the same tag at another one may be of another file."""
    file = serve_cut(origin, etag='"1"')
    assert direct.failure(file.url) == "reset"
    other = origin.serve("/b.bin", size=SIZE, etag='"1"')

    direct.fetch(other.url)

    assert direct.data == other.body_slice(0, SIZE)
    assert any("discarded" in note for note in direct.notes)


@pytest.mark.parametrize("status", [400, 405, 501])
def test_an_origin_that_does_not_know_parts_is_read_from_the_start(
    direct: Direct, origin: Origin, status: int
) -> None:
    file = serve_cut(origin)
    assert direct.failure(file.url) == "reset"
    file.behave(respond=does.for_ranges(does.status(status)))

    direct.fetch(file.url)

    assert direct.data == file.body_slice(0, SIZE)
    assert [one.range is None for one in origin.requests] == [True, False, True]
