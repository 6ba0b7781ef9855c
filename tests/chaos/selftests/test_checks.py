"""Each check finds what it is there for. A good run is made up, and one thing in it is wrong."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from domain.job import Job, JobEvent, JobStatus
from tests.chaos.checks import Violation, violations
from tests.chaos.client import Submission
from tests.chaos.evidence import Evidence, Leftovers, digests
from tests.chaos.file_specs import FileSpec, serve
from tests.support.build import NOW, new_job
from tests.support.origins.origin import Origin, RequestLog

S = JobStatus
WORKER = "host:1"


@pytest.fixture
def spec() -> Iterator[FileSpec]:
    """A file that can be continued."""
    with Origin() as origin:
        chance = random.Random(1)
        for number in range(100):
            spec = serve(origin, chance, number)
            if spec.continues:
                yield spec
                return


@pytest.fixture
def good(tmp_path: Path, spec: FileSpec) -> Evidence:
    """A run of one job that was interrupted once and completed."""
    path = tmp_path / "film.mkv"
    path.write_bytes(spec.file.body_slice(0, spec.file.size))
    size = spec.file.size
    job = new_job(
        url=spec.file.url,
        status=S.COMPLETED,
        fence=2,
        attempts=2,
        worker=WORKER,
        path=str(path),
        sha256=spec.file.sha256,
        bytes_downloaded=size,
        bytes_durable=size,
        bytes_total=size,
    )
    return Evidence(
        submissions={job.id: Submission(spec, job.id)},
        specs={spec.file.path: spec},
        jobs={job.id: job},
        events={job.id: history(job)},
        requests=[
            answer(spec, 0, size // 2 + 1000, 10.0, 15.0),
            answer(spec, size // 2, size - size // 2, 20.0, 25.0),
        ],
        folder=tmp_path,
        files=digests(tmp_path),
        leftovers=Leftovers(),
        checkpoint_interval=0.3,
    )


def history(job: Job) -> list[JobEvent]:
    """Two claims: the first is requeued, the second completes."""
    return [
        event(job, None, S.QUEUED, 0),
        event(job, S.QUEUED, S.DOWNLOADING, 1),
        event(job, S.DOWNLOADING, S.QUEUED, 1),
        event(job, S.QUEUED, S.DOWNLOADING, 2),
        event(job, S.DOWNLOADING, S.DOWNLOADING, 2),
        event(job, S.DOWNLOADING, S.VERIFYING, 2),
        event(job, S.VERIFYING, S.COMPLETED, 2),
    ]


def event(job: Job, source: S | None, to: S, fence: int, **changes: Any) -> JobEvent:
    values: dict[str, Any] = {
        "job_id": job.id,
        "at": NOW + timedelta(seconds=fence),
        "from_status": source,
        "to_status": to,
        "worker": WORKER if fence else None,
        "fence": fence,
        "attempt": fence,
        "reason": None,
    }
    return JobEvent(**(values | changes))


def answer(
    spec: FileSpec, first: int, size: int, started: float, ended: float | None
) -> RequestLog:
    status = 206 if first else 200
    return RequestLog(
        "GET", spec.file.path, "", {}, None, started, status, size, ended, first=first
    )


def found(evidence: Evidence) -> list[tuple[str, str | None]]:
    return [(one.check, one.job_id) for one in violations(evidence)]


def only(evidence: Evidence) -> Violation:
    (violation,) = violations(evidence)
    return violation


def the_job(evidence: Evidence) -> Job:
    (job,) = evidence.jobs.values()
    return job


def with_job(evidence: Evidence, **changes: Any) -> Evidence:
    job = replace(the_job(evidence), **changes)
    return replace(evidence, jobs={job.id: job})


def with_events(evidence: Evidence, events: list[JobEvent]) -> Evidence:
    return replace(evidence, events={the_job(evidence).id: events})


def test_a_good_run_has_nothing_wrong(good: Evidence) -> None:
    assert violations(good) == []


def test_a_lost_job(good: Evidence) -> None:
    job_id = the_job(good).id
    lost = replace(good, jobs={}, events={}, files={})
    assert found(lost) == [("every accepted job has ended", job_id)]


def test_a_job_that_never_ends(good: Evidence) -> None:
    job = the_job(good)
    events = [*good.events[job.id][:3]]
    waiting = with_job(with_events(good, events), status=S.QUEUED, fence=1, attempts=1, path=None)
    assert ("every accepted job has ended", job.id) in found(waiting)


@pytest.mark.parametrize(
    "changes", [{"status": S.FAILED, "error_code": "http_503"}, {"status": S.CANCELLED}]
)
def test_an_unexpected_final_state_is_found(good: Evidence, changes: dict[str, Any]) -> None:
    job = the_job(good)
    events = [*good.events[job.id][:-1], event(job, S.VERIFYING, changes["status"], 2)]
    ended = with_job(with_events(good, events), **changes)
    assert ("every job ends as it should", job.id) in found(ended)


def test_a_job_that_was_cancelled_may_be(good: Evidence) -> None:
    job = the_job(good)
    events = [*good.events[job.id][:-1], event(job, S.VERIFYING, S.CANCELLED, 2)]
    submission = Submission(good.spec(job), job.id, words=["cancel"])
    ended = with_job(with_events(good, events), status=S.CANCELLED, path=None)
    assert found(replace(ended, submissions={job.id: submission}, files={})) == []
    submission.words.append("retry")
    again = replace(ended, submissions={job.id: submission}, files={})
    assert found(again) == [("every job ends as it should", job.id)]


def test_a_wrong_byte(good: Evidence) -> None:
    path = Path(the_job(good).path or "")
    with path.open("r+b") as file:
        file.seek(1000)
        byte = file.read(1)
        file.seek(1000)
        file.write(bytes([byte[0] ^ 1]))
    damaged = replace(good, files=digests(good.folder))
    assert only(damaged).check == "completed files are right"


def test_a_file_that_is_not_where_sql_says(good: Evidence) -> None:
    moved = with_job(good, path=str(good.folder / "elsewhere"))
    assert {check for check, _ in found(moved)} == {
        "completed files are right",
        "nothing else is on disk",
    }


def test_a_count_that_is_not_the_size(good: Evidence) -> None:
    assert only(with_job(good, bytes_durable=1)).check == "completed files are right"


def test_a_second_copy(good: Evidence) -> None:
    (good.folder / "film (1).mkv").write_bytes(b"")
    assert only(replace(good, files=digests(good.folder))).check == "nothing else is on disk"


def test_a_part_file_of_a_job_that_lives(good: Evidence) -> None:
    job = new_job(url=the_job(good).url)
    (good.folder / f".seen-{job.id}.part").write_bytes(b"")
    both = replace(
        good,
        jobs={**good.jobs, job.id: job},
        events={**good.events, job.id: [event(job, None, S.QUEUED, 0)]},
        files=digests(good.folder),
    )
    assert found(both) == [("nothing else is on disk", job.id)]


@pytest.mark.parametrize(
    "left", [Leftovers(locks=("k",)), Leftovers(active=("j",)), Leftovers(dirty=("j",))]
)
def test_what_is_left_in_the_store(good: Evidence, left: Leftovers) -> None:
    assert only(replace(good, leftovers=left)).check == "the store is clean"


@pytest.mark.parametrize("ended", [None, 22.0])
def test_bytes_that_two_fetch_at_once(good: Evidence, ended: float | None) -> None:
    first, second = good.requests
    both = replace(good, requests=[replace(first, ended=ended), second])
    assert "no bytes are fetched twice at once" in {check for check, _ in found(both)}
    other_part = replace(good, requests=[replace(first, ended=ended, bytes_sent=1), second])
    assert found(other_part) == []


def test_bytes_that_are_fetched_again(good: Evidence, spec: FileSpec) -> None:
    size, rate = 10_000_000, 100_000
    slow = replace(spec, rate=rate)
    requests = [answer(spec, 0, size, 10, 15), answer(spec, 0, size, 20, 25)]
    fetched_again = replace(good, specs={spec.file.path: slow}, requests=requests)
    assert only(fetched_again).check == "few bytes are fetched again"
    # The kernel takes what a worker that stands still does not.
    assert found(replace(fetched_again, frozen=[(10.0, 10.0 + size / rate)])) != []
    requests[0] = replace(requests[0], ended=10 + size / rate)
    requests[1] = replace(requests[1], started=200.0, ended=300.0)
    frozen = replace(fetched_again, requests=requests, frozen=[(0.0, 200.0)])
    assert found(frozen) == []


def test_a_step_that_is_not_legal(good: Evidence) -> None:
    job = the_job(good)
    events = list(good.events[job.id])
    events[5:7] = [event(job, S.DOWNLOADING, S.COMPLETED, 2)]
    assert "no legal change" in only(with_events(good, events)).what


@pytest.mark.parametrize(
    ("number", "changes", "what"),
    [
        (0, {"from_status": S.PAUSED}, "begins with"),
        (2, {"fence": 0}, "goes from 1 to 0"),
        (2, {"fence": 3, "reason": "OOM; 4 times in a row"}, "goes from 1 to 3"),
        (3, {"fence": 4}, "goes from 1 to 4"),
        (3, {"fence": 3, "reason": "OOM; 2 times in a row"}, "goes from 1 to 3"),
        (4, {"from_status": S.VERIFYING, "to_status": S.VERIFYING}, "follows"),
        (4, {"attempt": 4}, "attempt 4 of 3"),
        (5, {"worker": "host:2"}, "belongs to host:1 and to host:2"),
        (6, {"attempt": 1}, "the row says"),
    ],
)
def test_a_history_that_cannot_be(
    good: Evidence, number: int, changes: dict[str, Any], what: str
) -> None:
    events = list(good.events[the_job(good).id])
    events[number] = replace(events[number], **changes)
    wrong = violations(with_events(good, events))
    assert {violation.check for violation in wrong} == {"the history is legal"}
    assert any(what in violation.what for violation in wrong)


def test_a_hand_back_that_stands_for_several_claims(good: Evidence) -> None:
    job = the_job(good)
    first, claim, *_ = good.events[job.id]
    rest = [replace(one, fence=8) for one in good.events[job.id][3:]]
    again = event(job, S.DOWNLOADING, S.QUEUED, 7, attempt=0, reason="OOM; 7 times in a row")
    events = [first, claim, again, *(replace(one, attempt=1) for one in rest)]

    assert found(with_job(with_events(good, events), fence=8, attempts=1)) == []


def test_what_was_seen_on_the_way(good: Evidence) -> None:
    seen = replace(good, seen=[("j", "101 % done")], incidents=["beat ended by itself"])
    assert found(seen) == [("every number was true", "j"), ("programs stayed up", None)]


def test_a_small_file_that_arrives_more_often_than_it_was_claimed(
    good: Evidence, spec: FileSpec
) -> None:
    small = replace(spec, is_small=True)
    whole = [answer(spec, 0, spec.file.size, at, at + 0.1) for at in (1.0, 2.0, 3.0)]
    check = "no claim fetches a small file twice"
    for answers, is_found in ((whole, True), (whole[:2], False)):
        evidence = replace(good, specs={spec.file.path: small}, requests=answers)
        assert (check in dict(found(evidence))) is is_found
    assert check not in dict(found(replace(good, requests=whole))), "a large one"


def test_a_failure_that_reached_another_job(good: Evidence, spec: FileSpec) -> None:
    job, gone = the_job(good), replace(spec, sort="not there")
    other = new_job(
        url="http://127.0.0.1/gone", status=S.FAILED, error_code="http_404", reason="It is gone."
    )
    check = "a failure is its job's own"
    for reason, is_found in (("It is gone.", True), ("The worker has ended.", False)):
        events = [*history(job)[:-1], event(job, S.VERIFYING, S.COMPLETED, 2, reason=reason)]
        evidence = replace(
            good,
            specs={**good.specs, "/gone": gone},
            jobs={job.id: job, other.id: other},
            events={job.id: events, other.id: history(other)},
        )
        assert ((check, job.id) in found(evidence)) is is_found


@pytest.mark.parametrize(
    ("limits", "frozen", "is_wrong"),
    [
        ([(0.0, 1.0)], (), True),
        ([(0.0, 2.0)], (), False),
        ([(0.0, math.inf)], (), False),
        # It was higher when the first one began, or rose since.
        ([(0.0, 2.0), (12.0, 1.0)], (), False),
        ([(0.0, 1.0), (10.5, 2.0)], (), False),
        # It was higher long before.
        ([(0.0, 2.0), (2.0, 1.0)], (), True),
        ([(0.0, 1.0)], ((11.0, 14.0),), False),
    ],
)
def test_more_downloads_than_the_limit_allows(
    good: Evidence,
    spec: FileSpec,
    limits: list[tuple[float, float]],
    frozen: tuple[tuple[float, float], ...],
    is_wrong: bool,
) -> None:
    first = answer(spec, 0, 0, 10.0, 15.0)
    second = replace(answer(spec, 0, 0, 11.0, 16.0), path="/another")
    wrong = replace(good, requests=[first, second], limits=limits, frozen=frozen)
    checks = [one.check for one in violations(wrong)]
    assert ("no more run than the limit allows" in checks) is is_wrong


def test_fetches_that_overlap_for_a_moment_are_handed_over(good: Evidence, spec: FileSpec) -> None:
    first = answer(spec, 0, 0, 10.0, 12.0)
    second = replace(answer(spec, 0, 0, 11.0, 16.0), path="/another")
    assert violations(replace(good, requests=[first, second], limits=[(0.0, 1.0)])) == []
