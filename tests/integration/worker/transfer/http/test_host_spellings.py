"""A host is one host in the database, at the limits and at the guard, in whatever spelling it came."""

from __future__ import annotations

import pytest

from cache import CacheManager
from domain.dedup import request_fingerprint
from domain.errors import HostBusyError
from domain.job import JobFilter, JobStatus
from domain.request import DownloadRequest
from tests.support.origins.origin import Origin
from tests.support.services.slots import BlockingSlots
from tests.support.services.transferring import Downloads

BODY = b"0123456789" * 100

SPELLINGS = [
    *("127.0.0.1", "127.1", "0x7f.1", "0177.0.0.1", "2130706433", "127.0.0.1.", "[::ffff:7f00:1]"),
    *("%31%32%37.0.0.1", "１２７。０。０。１"),
]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_job_is_found_by_every_spelling_of_its_host(
    downloads: Downloads, origin: Origin, spelling: str
) -> None:
    origin.serve("/a.bin", body=BODY)

    job = downloads.run(f"http://{spelling}:{origin.port}/a.bin")

    assert job.status is JobStatus.COMPLETED
    assert (job.url, job.host) == (origin.url("/a.bin"), "127.0.0.1")
    for other in SPELLINGS:
        assert [one.id for one in downloads.runtime.jobs.find(JobFilter(host=other))] == [job.id]


@pytest.mark.parametrize("spelling", SPELLINGS[1:])
def test_limits_and_cool_downs_hold_for_every_spelling(
    manager: CacheManager, spelling: str
) -> None:
    with BlockingSlots(
        manager.limits,
        per_host_connections=0,
        per_host_downloads=1,
        per_user_downloads=0,
        ttl=60,
    ) as slot_manager:
        held = slot_manager.acquire("one", SPELLINGS[0])
        with pytest.raises(HostBusyError, match="1 of 1 downloads are running"):
            slot_manager.acquire("two", spelling)
        slot_manager.release(held)
        slot_manager.cool_down(spelling, 60, "HTTP 429")
        with pytest.raises(HostBusyError, match="cooldown"):
            slot_manager.acquire("three", SPELLINGS[0])


def test_every_spelling_asks_for_the_same() -> None:
    urls = [f"http://{spelling}/a.bin" for spelling in SPELLINGS]
    assert len({request_fingerprint(DownloadRequest(url=url), None) for url in urls}) == 1
    request = DownloadRequest(url=urls[0], mirrors=tuple(urls[1:]))
    assert request.mirrors == ()
