"""Each check of webhooks finds what it is there for: in a made-up run with one thing that is wrong."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from domain.job import JobEvent, JobStatus
from tests.chaos.webhooks.checks import Evidence, message_id, violations
from tests.chaos.webhooks.faulty_receiver import Arrival
from tests.chaos.webhooks.run import KINDS, draw
from tests.support.build import NOW
from tests.support.servers.webhook_receiver import Received
from worker.webhooks.signatures import signature

S = JobStatus
JOB, SECRET = "j1", "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
FIRST, SECOND = NOW + timedelta(seconds=1), NOW + timedelta(seconds=3)


def event(source: S, to: S, at: datetime) -> JobEvent:
    return JobEvent(
        job_id=JOB,
        at=at,
        from_status=source,
        to_status=to,
        worker=None,
        fence=1,
        attempt=1,
        reason=None,
    )


def arrival(
    ended: datetime, state: str, *, path: str = "/user", accepted: bool = True, signed: str = ""
) -> Arrival:
    body = json.dumps({"type": f"download.{state}", "data": {"id": JOB}}).encode()
    stamp = int(ended.timestamp())
    found = message_id(JOB, ended)
    headers = {
        "webhook-id": found,
        "webhook-timestamp": str(stamp),
        "webhook-signature": signed or signature(SECRET, found, stamp, body),
    }
    return Arrival(ended + timedelta(seconds=1), Received(path, headers, body), accepted)


@pytest.fixture
def good() -> Evidence:
    """A job that failed, was retried, and completed; its first end arrived twice."""
    return Evidence(
        receivers={JOB: ["/user"]},
        events={
            JOB: [
                event(S.DOWNLOADING, S.FAILED, FIRST),
                event(S.FAILED, S.FAILED, FIRST),  # a note
                event(S.FAILED, S.QUEUED, NOW + timedelta(seconds=2)),
                event(S.VERIFYING, S.COMPLETED, SECOND),
            ]
        },
        arrivals=[
            arrival(FIRST, "failed", accepted=False),
            arrival(FIRST, "failed"),
            arrival(SECOND, "completed"),
        ],
        deliveries=[],
        secret=SECRET,
    )


def test_a_good_run_has_nothing_wrong(good: Evidence) -> None:
    assert violations(good) == []


#: What is wrong with the arrivals, and what is found.
WRONG: dict[str, tuple[Callable[[list[Arrival]], list[Arrival]], str]] = {
    "one is lost": (lambda all_of: all_of[:2], "was never accepted"),
    "one was answered wrongly and never again": (
        lambda all_of: [all_of[0], all_of[2]],
        "was never accepted",
    ),
    "they came in the other order": (lambda all_of: all_of[::-1], "before"),
    "the later one came before the earlier one was accepted": (
        lambda all_of: [all_of[0], all_of[2], all_of[1]],
        "before msg_j1_",
    ),
    "one that never was": (
        lambda all_of: [*all_of, arrival(NOW, "failed")],
        "has no such end",
    ),
    "one of another state": (
        lambda all_of: [*all_of, arrival(FIRST, "cancelled")],
        "the job was failed",
    ),
    "one came too early": (
        lambda all_of: [*all_of, all_of[1]._replace(at=NOW)],
        "before the job had ended",
    ),
    "a redirect was followed": (
        lambda all_of: [*all_of, arrival(FIRST, "failed", path="/elsewhere")],
        "arrived at /elsewhere",
    ),
    "a wrong signature": (
        lambda all_of: [*all_of, arrival(FIRST, "failed", signed="v1,x")],
        "wrong signature",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_found(good: Evidence, what: str) -> None:
    change, expected = WRONG[what]
    found = violations(replace(good, arrivals=change(list(good.arrivals))))
    assert any(expected in text for text in found), found


def test_a_job_that_never_ends(good: Evidence) -> None:
    found = violations(replace(good, events={JOB: good.events[JOB][:0]}))
    assert f"job {JOB} has not ended" in found


def test_each_kind_of_fault_comes_before_one_is_repeated() -> None:
    drawn = draw(25, random.Random(1))
    assert set(drawn[: len(KINDS)]) == set(KINDS)
    assert (len(drawn), drawn) == (25, draw(25, random.Random(1)))
