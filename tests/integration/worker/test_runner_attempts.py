"""Further attempts of a job: when it waits for one, and where that one continues."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from domain.job import JobStatus
from tests.support.faults.aging import make_due
from tests.support.origins.origin import Origin
from tests.support.origins.resource import ServedFile
from tests.support.services.running import run
from tests.support.services.system import System
from tests.support.wait import wait_until
from worker.outcome import Outcome

S = JobStatus


@pytest.mark.parametrize(
    ("behaviour", "code"),
    [
        ({"status": 503}, "http_503"),
        ({"status": 429, "retry_after": "1"}, "http_429"),
        ({"truncate_after": 5_000}, "truncated"),
        ({"reset_after": 5_000}, "reset"),
        ({"lie_length": 1_000}, "truncated"),
    ],
)
def test_what_may_pass_waits_and_then_completes(
    system: System, origin: Origin, behaviour: dict[str, Any], code: str
) -> None:
    file = origin.serve("/a.bin", size=50_000, **behaviour)
    job = system.submit(file.url)

    assert run(system, job) is Outcome.WAITING

    row = system.job(job)
    assert row.error_code == code
    assert row.next_attempt_at is not None
    assert row.next_attempt_at > row.updated_at
    assert not (system.downloads / "a.bin").exists()

    file.behave(status=None, truncate_after=None, reset_after=None, lie_length=None)
    # In real time: the cooldown that a 429 starts has to end, too.
    wait_until(lambda: system.runtime.jobs.requeue_due(system.runtime.now()))
    assert run(system, job) is Outcome.COMPLETED
    assert (system.downloads / "a.bin").read_bytes() == file.body_slice(0, 50_000)


def test_a_refused_connection_waits(system: System, free_port: int) -> None:
    job = system.submit(f"http://127.0.0.1:{free_port}/a.bin")

    assert run(system, job) is Outcome.WAITING
    assert system.job(job).error_code == "connect"


def test_a_stalled_origin_times_out(tmp_path: Path, system: System, origin: Origin) -> None:
    with System(tmp_path, system.store, settings={"SEEN_LOW_SPEED_TIME": "1"}) as quick:
        job = quick.submit(origin.serve("/a.bin", size=50_000, hang_after=1_000).url)
        assert run(quick, job) is Outcome.WAITING
        assert quick.job(job).error_code == "timeout"


def test_attempts_are_bounded(system: System, origin: Origin) -> None:
    job = system.submit(origin.serve("/a.bin", size=10, status=500).url, max_attempts=2)

    assert run(system, job) is Outcome.WAITING
    make_due(system)
    assert run(system, job) is Outcome.FAILED
    assert system.job(job).attempts == 2


def test_an_interrupted_download_goes_on_where_it_stopped(system: System, origin: Origin) -> None:
    file = origin.serve("/a.bin", size=400_000, reset_after=250_000, faults=1)
    job = system.submit(file.url, checksum=f"sha256:{file.sha256}")
    assert run(system, job) is Outcome.WAITING
    kept = system.job(job).bytes_durable
    assert kept > 0
    make_due(system)

    assert run(system, job) is Outcome.COMPLETED

    second = origin.requests_for("/a.bin")[1]
    assert second.range == (kept, 399_999)
    assert second.headers["if-range"] == file.etag
    assert second.status == 206


def test_a_file_that_changed_meanwhile_is_not_joined(system: System, origin: Origin) -> None:
    file = origin.serve("/a.bin", size=400_000, reset_after=250_000, faults=1)
    job = system.submit(file.url)
    assert run(system, job) is Outcome.WAITING
    other = origin.serve("/a.bin", size=300_000, seed="another")
    make_due(system)

    assert run(system, job) is Outcome.COMPLETED
    assert system.job(job).sha256 == other.sha256
    assert system.job(job).bytes_downloaded == 300_000


def test_a_wrong_content_range_starts_over(system: System, origin: Origin) -> None:
    file = origin.serve("/a.bin", size=400_000, reset_after=250_000, faults=1)
    job = system.submit(file.url)
    assert run(system, job) is Outcome.WAITING
    file.behave(wrong_content_range=True)
    make_due(system)

    assert run(system, job) is Outcome.COMPLETED
    assert system.job(job).sha256 == file.sha256
    asked = [request.range is not None for request in origin.requests_for("/a.bin")]
    assert asked == [False, True, False]


def assert_starts_over(system: System, origin: Origin, file: ServedFile) -> None:
    """A transfer that breaks off after 250,000 bytes keeps none of them, and starts over."""
    job = system.submit(file.url)
    assert run(system, job) is Outcome.WAITING
    waiting = system.job(job)
    assert (waiting.bytes_downloaded, waiting.bytes_durable) == (0, 0)
    (part,) = system.downloads.glob(".seen-*.part")
    assert part.stat().st_blocks == 0
    reasons = [event.reason or "" for event in system.runtime.jobs.events(job.id)]
    assert any("250,000 bytes are discarded: the origin" in reason for reason in reasons)
    make_due(system)
    assert run(system, job) is Outcome.COMPLETED
    assert origin.requests_for("/a.bin")[1].range is None
    assert system.job(job).sha256 == file.sha256


def test_without_a_validator_it_starts_over(system: System, origin: Origin) -> None:
    file = origin.serve(
        "/a.bin", size=400_000, etag=None, last_modified=None, reset_after=250_000, faults=1
    )
    assert_starts_over(system, origin, file)


def test_an_entity_tag_beyond_ascii_is_no_reason_to_fail(system: System, origin: Origin) -> None:
    file = origin.serve("/a.bin", size=400_000, etag='"é"', reset_after=250_000, faults=1)
    assert_starts_over(system, origin, file)
