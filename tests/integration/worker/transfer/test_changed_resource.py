"""A file that changed between two attempts: never one file out of two.

The origin of these tests ignores If-Range, as some servers and caches do: it sends the rest of whatever
it has now, in place of the whole.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from email.utils import formatdate

import pytest

from tests.support.faults.aging import make_due
from tests.support.origins.origin import Origin
from tests.support.services.running import run_download
from tests.support.services.system import System
from worker.outcome import Outcome
from worker.storage.part_file import PartFile

SIZE = 400_000
OLD = "Wed, 21 Oct 2015 07:28:00 GMT"
NEW = "Thu, 22 Oct 2015 07:28:00 GMT"


@dataclass(frozen=True)
class Said:
    """By what an origin says which file it sends."""

    etag: str | None
    date: str | None = None

    @property
    def vouches(self) -> bool:
        """Whether bytes can be continued: by a strong tag, or without a tag by an old date."""
        if self.etag is not None:
            return not self.etag.startswith("W/")
        return self.date == OLD


CHANGES = {
    "another strong tag": (Said('"1"'), Said('"2"')),
    "another strong tag, the same date": (Said('"1"', OLD), Said('"2"', OLD)),
    "the same strong tag, another date": (Said('"1"', OLD), Said('"1"', NEW)),
    "another date, no tag": (Said(None, OLD), Said(None, NEW)),
    "the tag is gone, another date": (Said('"1"', OLD), Said(None, NEW)),
    "strong, then another weak one": (Said('"1"'), Said('W/"2"')),
    "strong, then the same as a weak one": (Said('"1"'), Said('W/"1"')),
    "weak, then a strong one": (Said('W/"1"'), Said('"1"')),
    "weak, then a strong one, the same date": (Said('W/"1"', OLD), Said('"1"', OLD)),
    "weak and different": (Said('W/"1"'), Said('W/"2"')),
    "weak and different, the same date": (Said('W/"1"', OLD), Said('W/"2"', OLD)),
    "weak and different, another date": (Said('W/"1"', OLD), Said('W/"2"', NEW)),
    "weak and the same": (Said('W/"1"'), Said('W/"1"')),
    "weak and the same, the same date": (Said('W/"1"', OLD), Said('W/"1"', OLD)),
    "weak and the same, another date": (Said('W/"1"', OLD), Said('W/"1"', NEW)),
}


def test_a_deleted_part_file_is_not_continued_however_often_its_worker_crashes(
    system: System, origin: Origin
) -> None:
    """Its checkpoint is there yet, and fits a new file as soon as that has room for everything."""
    file = origin.serve("/a.bin", size=SIZE, etag='"1"', reset_after=250_000, faults=1)
    job = system.submit(file.url)
    assert run_download(system.runtime, job.id) is Outcome.WAITING
    assert system.job(job).bytes_durable == 250_000
    (part,) = system.downloads.glob(".seen-*.part")
    part.unlink()
    with PartFile(system.downloads, job.id) as crashed:  # before it had a checkpoint of its own
        crashed.allocate(SIZE)

    make_due(system)
    assert run_download(system.runtime, job.id) is Outcome.COMPLETED
    assert hashlib.sha256((system.downloads / "a.bin").read_bytes()).hexdigest() == file.sha256


@pytest.mark.parametrize(("before", "after"), CHANGES.values(), ids=CHANGES)
def test_a_file_replaced_by_one_of_the_same_size_is_not_joined(
    system: System, origin: Origin, before: Said, after: Said
) -> None:
    download_while_replaced(system, origin, before, after)


def test_a_file_replaced_within_the_second_of_its_date_is_not_joined(
    system: System, origin: Origin
) -> None:
    """A date that has only just passed does not distinguish two files (RFC 9110, 8.8.2.2)."""
    said = Said(None, formatdate(usegmt=True))
    download_while_replaced(system, origin, said, said)


def download_while_replaced(system: System, origin: Origin, before: Said, after: Said) -> None:
    """Interrupt a download, replace its file and continue; fail unless the result is the new file."""
    first = origin.serve(
        "/a.bin",
        size=SIZE,
        etag=before.etag,
        last_modified=before.date,
        reset_after=250_000,
        faults=1,
    )
    job = system.submit(first.url)
    assert run_download(system.runtime, job.id) is Outcome.WAITING
    # What no validator vouches for is given back before the job waits.
    assert system.job(job).bytes_durable == (250_000 if before.vouches else 0)
    second = origin.serve(
        "/a.bin",
        size=SIZE,
        seed="another",
        etag=after.etag,
        last_modified=after.date,
        honour_if_range=False,
    )
    assert second.sha256 != first.sha256
    make_due(system)

    assert run_download(system.runtime, job.id) is Outcome.COMPLETED

    published = (system.downloads / "a.bin").read_bytes()
    assert hashlib.sha256(published).hexdigest() == second.sha256
    assert system.job(job).sha256 == second.sha256


@pytest.mark.parametrize("said", [Said('"1"'), Said('"1"', OLD), Said(None, OLD)], ids=str)
def test_a_file_that_stayed_is_joined(system: System, origin: Origin, said: Said) -> None:
    """Without this one, the tests above would also hold where nothing is ever joined."""
    file = origin.serve(
        "/a.bin",
        size=SIZE,
        etag=said.etag,
        last_modified=said.date,
        honour_if_range=False,
        reset_after=250_000,
        faults=1,
    )
    job = system.submit(file.url)
    assert run_download(system.runtime, job.id) is Outcome.WAITING
    make_due(system)

    assert run_download(system.runtime, job.id) is Outcome.COMPLETED

    assert system.job(job).sha256 == file.sha256
    assert [request.status for request in origin.requests_for("/a.bin")] == [200, 206]
    assert origin.requests_for("/a.bin")[1].headers["if-range"] == (said.etag or said.date)
