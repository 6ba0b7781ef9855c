"""Several URLs of one file: all that have it help, and none of another file is joined to it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from domain.job import Job, JobStatus
from tests.support.origins.origin import Origin
from tests.support.services.engine import ALONE, SHARING, run_to_the_end
from tests.support.services.system import System

SIZE = 600_000
OLD_DATE = "Wed, 21 Oct 2015 07:28:00 GMT"
CUT = 200_000
PATH = "/a.bin"
SLOW: dict[str, Any] = {"bytes_per_second": 400_000}
#: The first URL breaks off, and is not there any more when it is asked again.
LEAVES: dict[str, Any] = {"statuses": [200] + [404] * 9, "truncate_after": CUT, "faults": 1}


@pytest.fixture
def mirror() -> Iterator[Origin]:
    """A second origin."""
    with Origin() as server:
        yield server


def submit(system: System, origin: Origin, mirror: Origin) -> Job:
    return system.submit(origin.url(PATH), mirrors=[mirror.url(PATH)])


def content(system: System) -> bytes:
    return (system.downloads / "a.bin").read_bytes()


def test_pieces_come_from_all_that_have_the_file(
    system: System, origin: Origin, mirror: Origin
) -> None:
    file = origin.serve(PATH, size=SIZE, **SLOW)
    mirror.serve(PATH, size=SIZE, **SLOW)
    row = run_to_the_end(system, submit(system, origin, mirror), **SHARING)
    assert (row.status, row.sha256) == (JobStatus.COMPLETED, file.sha256)
    assert [entry.status for entry in mirror.requests_for(PATH)] == [206, 206]


def test_one_date_makes_two_files_one_where_tags_differ(
    system: System, origin: Origin, mirror: Origin
) -> None:
    file = origin.serve(PATH, size=SIZE, last_modified=OLD_DATE, **SLOW)
    mirror.serve(PATH, size=SIZE, last_modified=OLD_DATE, etag='"node-2"', **SLOW)
    row = run_to_the_end(system, submit(system, origin, mirror), **SHARING)
    assert row.sha256 == file.sha256
    assert {entry.status for entry in mirror.requests_for(PATH)} == {206}


#: Each has as many bytes as the file, and nothing that says they are the same ones.
STRANGERS: dict[str, dict[str, Any]] = {
    "another tag": {"seed": "other"},
    "another tag, and no If-Range": {"seed": "other", "honour_if_range": False},
    "no validator": {"seed": "other", "etag": None},
    "a weak tag": {"seed": "other", "etag": 'W/"weak"'},
    "no ranges": {"seed": "other", "ranges": False},
}


@pytest.mark.parametrize("name", STRANGERS)
def test_a_mirror_of_another_file_is_left_out(
    system: System, origin: Origin, mirror: Origin, name: str
) -> None:
    file = origin.serve(PATH, size=SIZE, **SLOW)
    mirror.serve(PATH, size=SIZE, **STRANGERS[name])
    job = submit(system, origin, mirror)
    row = run_to_the_end(system, job, **SHARING)
    assert (row.status, row.sha256) == (JobStatus.COMPLETED, file.sha256)
    assert content(system) == file.body_slice(0, SIZE)
    whole = [entry for entry in origin.requests_for(PATH) if entry.range is None]
    assert len(whole) == 1, "no segment was restarted because of the mirror"
    assert len(origin.requests_for(PATH)) < 20, "a connection is not judged by its first moment"
    reasons = [event.reason or "" for event in system.runtime.jobs.events(job.id)]
    assert sum("a mirror is no longer used" in reason for reason in reasons) == 1, reasons


@pytest.mark.parametrize("behaviour", [{"status": 404}, {"status": 503}], ids=["gone", "busy"])
def test_a_mirror_stands_in_from_the_start(
    system: System, origin: Origin, mirror: Origin, behaviour: dict[str, Any]
) -> None:
    origin.serve(PATH, size=SIZE, **behaviour)
    file = mirror.serve(PATH, size=SIZE)
    row = run_to_the_end(system, submit(system, origin, mirror), **ALONE)
    assert (row.status, row.attempts, row.sha256) == (JobStatus.COMPLETED, 1, file.sha256)


def test_a_mirror_goes_on_where_the_first_one_ended(
    system: System, origin: Origin, mirror: Origin
) -> None:
    file = origin.serve(PATH, size=SIZE, **LEAVES)
    mirror.serve(PATH, size=SIZE)
    row = run_to_the_end(system, submit(system, origin, mirror), short_retries=3, **ALONE)
    assert (row.status, row.sha256) == (JobStatus.COMPLETED, file.sha256)
    [request] = mirror.requests_for(PATH)
    assert request.range is not None
    assert request.range[0] == CUT


@pytest.mark.parametrize("name", STRANGERS)
def test_another_file_does_not_go_on_where_the_first_one_ended(
    system: System, origin: Origin, mirror: Origin, name: str
) -> None:
    """What a mirror has is a file of its own then: all of it, and no byte of the first one's."""
    origin.serve(PATH, size=SIZE, **LEAVES)
    other = mirror.serve(PATH, size=SIZE, **STRANGERS[name])
    row = run_to_the_end(system, submit(system, origin, mirror), short_retries=3, **ALONE)
    assert (row.status, row.sha256) == (JobStatus.COMPLETED, other.sha256), row.reason
    assert content(system) == other.body_slice(0, SIZE)


def test_a_later_attempt_asks_where_the_bytes_are_from(
    system: System, origin: Origin, mirror: Origin
) -> None:
    origin.serve(PATH, size=SIZE, status=404)
    file = mirror.serve(PATH, size=SIZE, truncate_after=CUT, faults=1)
    row = run_to_the_end(system, submit(system, origin, mirror), short_retries=0, **ALONE)
    assert (row.status, row.attempts, row.sha256) == (JobStatus.COMPLETED, 2, file.sha256)
    assert len(origin.requests_for(PATH)) == 1
    assert [entry.range for entry in mirror.requests_for(PATH)] == [None, (CUT, SIZE - 1)]


def test_when_all_sources_failed_the_last_reason_is_kept(
    system: System, origin: Origin, mirror: Origin
) -> None:
    origin.serve(PATH, size=SIZE, status=404)
    mirror.serve(PATH, size=SIZE, status=410)
    row = run_to_the_end(system, submit(system, origin, mirror), **ALONE)
    assert (row.status, row.error_code) == (JobStatus.FAILED, "http_410")
