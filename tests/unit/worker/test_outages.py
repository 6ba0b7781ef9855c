"""What is logged about an outage: its start, each new reason, its end."""

from __future__ import annotations

import logging

import pytest

from domain.errors import StoreRefusesError, StoreUnavailableError
from worker.outages import OutageLog

WHAT = "The disk was not swept"
FULL = StoreRefusesError("OOM command not allowed", "Free it.")
REPLICA = StoreRefusesError("READONLY You can't write", "Wait.")


@pytest.fixture
def outages(caplog: pytest.LogCaptureFixture) -> OutageLog:
    caplog.set_level(logging.INFO, "test.outages")
    return OutageLog(logging.getLogger("test.outages"))


def test_repeated_failures_are_logged_once(
    outages: OutageLog, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(5):
        outages.record_failure(WHAT, FULL)
    assert [record.getMessage() for record in caplog.records] == [
        f"{WHAT}: The store refuses: OOM command not allowed. Free it. Repeated failures are not logged"
    ]


def test_each_reason_of_an_outage_is_logged_once(
    outages: OutageLog, caplog: pytest.LogCaptureFixture
) -> None:
    for error in [FULL, REPLICA, FULL, REPLICA, StoreUnavailableError("It is gone."), FULL]:
        outages.record_failure(WHAT, error)
    assert len(caplog.records) == 3


def test_the_end_of_an_outage_is_logged_with_its_failures(
    outages: OutageLog, caplog: pytest.LogCaptureFixture
) -> None:
    outages.record_success(WHAT)
    assert caplog.records == []
    for _ in range(3):
        outages.record_failure(WHAT, FULL)

    outages.record_success(WHAT)
    outages.record_success(WHAT)
    outages.record_failure(WHAT, FULL)

    texts = [record.getMessage() for record in caplog.records]
    assert len(texts) == 3
    assert texts[1].startswith(f"{WHAT}: that is over, after 3 failures in 0 s")


def test_outages_of_two_things_are_kept_apart(
    outages: OutageLog, caplog: pytest.LogCaptureFixture
) -> None:
    outages.record_failure(WHAT, FULL)
    outages.record_failure("Slots could not be renewed", FULL)
    assert len(caplog.records) == 2
