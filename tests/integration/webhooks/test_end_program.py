"""The program of SEEN_ON_END: what it gets, how it may end, and that it changes no job."""

from __future__ import annotations

import json
import logging
import os
import time
from pathlib import Path

import pytest

from database.webhooks import DeliveryState, Receivers
from domain.errors import SettingsError
from domain.job import JobStatus
from settings import load
from tasks.webhooks.content import variables_of
from tests.integration.webhooks.conftest import Service
from worker.webhooks.end_program import MAX_OUTPUT, EndProgram

DELIVERED, GIVEN_UP = DeliveryState.DELIVERED, DeliveryState.GIVEN_UP


def program(folder: Path, text: str) -> Path:
    path = folder / "on end; echo x"  # a shell would run two commands
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def noted(service: Service) -> Service:
    """A service that keeps ends for a program."""
    Receivers(service.runtime.database).note_program(service.clock.now)
    return service


def test_it_gets_the_job_in_variables_and_no_secret_of_the_service(
    noted: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEEN_DATABASE_PASSWORD", "hidden")
    monkeypatch.setenv("ANYTHING_ELSE", "hidden")
    written = tmp_path / "written"
    path = program(tmp_path, f'env > {written}; echo "$#" >> {written}; pwd >> {written}')
    url = "https://example.org/a.bin?token=abc&part=1"
    job = noted.ended(None, JobStatus.FAILED, url=url, user_id="ada; touch x")
    assert noted.deliver(program=path) == 1
    *lines, arguments, folder = written.read_text().splitlines()
    variables = dict(line.split("=", 1) for line in lines)
    assert (arguments, folder) == ("0", "/")
    assert "hidden" not in variables.values()
    assert (variables["SEEN_JOB_ID"], variables["SEEN_STATUS"]) == (job.id, "failed")
    assert variables["SEEN_URL"] == "https://example.org/a.bin?token=…&part=1"
    assert variables["SEEN_OWNER"] == "ada; touch x"
    assert variables["SEEN_PATH"] == ""
    (delivery,) = noted.deliveries()
    assert variables_of(delivery).items() <= variables.items()
    assert (delivery.state, delivery.log[0].status) == (DELIVERED, 0)


def test_without_a_program_here_the_end_is_left_for_another_process(
    noted: Service, tmp_path: Path
) -> None:
    noted.ended(None)
    assert noted.deliver() == 0
    assert noted.deliver(program=program(tmp_path, "true")) == 1


@pytest.mark.parametrize(
    ("text", "state", "status", "error"),
    [
        ("echo done", DELIVERED, 0, ""),
        ("echo no >&2; exit 3", GIVEN_UP, 3, "exit status 3"),
        ("kill -9 $$", GIVEN_UP, -9, "signal 9"),
        ("sleep 60 & sleep 60", GIVEN_UP, -9, "more than 0.5 s"),
        ("yes", GIVEN_UP, -9, "more than 0.5 s"),
    ],
)
def test_how_it_may_end(
    noted: Service,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    text: str,
    state: DeliveryState,
    status: int,
    error: str,
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(EndProgram.__init__, "__kwdefaults__", {"time_limit": 0.5})
    job = noted.ended(None, JobStatus.CANCELLED)
    assert noted.deliver(program=program(tmp_path, text)) == 1
    (delivery,) = noted.deliveries()
    assert (delivery.state, delivery.log[0].status) == (state, status)
    assert error in (delivery.log[0].error or "")
    assert noted.runtime.jobs.get(job.id) == job
    (line,) = [one.getMessage() for one in caplog.records if "for job" in one.getMessage()]
    assert "\n" not in line
    assert len(line) < 2 * MAX_OUTPUT + 1000


def test_one_that_cannot_be_started_is_tried_again(noted: Service, tmp_path: Path) -> None:
    path = tmp_path / "missing"
    noted.ended(None)
    assert noted.deliver(program=path) == 1
    (delivery,) = noted.deliveries()
    assert delivery.state is DeliveryState.PENDING
    assert "cannot be started" in (delivery.log[0].error or "")
    noted.clock.advance(10)
    noted.deliver(program=program(tmp_path, "true"))
    assert noted.deliveries() != []
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)


def test_a_process_that_stops_kills_it_and_it_is_started_again(
    noted: Service, tmp_path: Path
) -> None:
    started = tmp_path / "started"
    path = program(tmp_path, f"echo $$ >> {started}; sleep 60")
    noted.ended(None)
    begin = time.monotonic()
    assert noted.deliver(program=path, is_stopping=started.exists) == 0
    assert time.monotonic() - begin < 30
    assert noted.deliver(program=program(tmp_path, f"echo again >> {started}")) == 1
    pid, again = started.read_text().split()
    assert again == "again"
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid), 0)


@pytest.mark.parametrize(
    ("name", "mode", "problem"),
    [("missing", None, "there is no such file"), ("plain", 0o644, "not executable")],
)
def test_it_is_checked_at_the_start(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    mode: int | None,
    problem: str,
) -> None:
    path = tmp_path / name
    if mode is not None:
        path.write_text(json.dumps({}))
        path.chmod(mode)
    monkeypatch.setenv("SEEN_ON_END", str(path))
    load.cache_clear()
    try:
        with pytest.raises(SettingsError, match=problem):
            load()
    finally:
        load.cache_clear()


def test_an_end_that_no_environment_can_hold_keeps_no_other_one_up(
    noted: Service, tmp_path: Path
) -> None:
    written = tmp_path / "written"
    noted.ended(None, user_id="a\0b")
    noted.ended(None, user_id="ada")
    assert noted.deliver(program=program(tmp_path, f"echo $SEEN_OWNER >> {written}")) == 2
    assert written.read_text() == "ada\n"
    (error,) = [one.log[0].error for one in noted.deliveries() if one.user_id != "ada"]
    assert error is not None
    assert "cannot be started: embedded null byte" in error
