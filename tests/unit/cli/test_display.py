"""Progress and states as text."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from cli.output.display import PlainLines, amount, percent, result_line, speed_or_state
from cli.output.job_state import state
from domain.job import JobStatus
from tasks import JobView
from tests.support.inputs.job_views import job, live

merge = JobView.merge


def test_downloading_job() -> None:
    running = merge(job(JobStatus.DOWNLOADING), live(2, bytes_total=20_000_000))
    assert running.label == "film.mkv"
    assert amount(running) == "1.5 of 20.0 MB"
    assert percent(running) == "7.5 %"
    assert speed_or_state(running) == "1.0 MB/s, 18 s left"
    unknown = merge(job(JobStatus.DOWNLOADING), live(2, bytes_total=None))
    assert (amount(unknown), percent(unknown), speed_or_state(unknown)) == (
        "1.5 MB, total unknown",
        "",
        "1.0 MB/s",
    )
    done = merge(job(JobStatus.COMPLETED, path="/tmp/other.mkv", bytes_downloaded=1000), None)
    assert result_line(done) == "other.mkv: 1.0 kB → /tmp/other.mkv"
    failed = merge(job(JobStatus.FAILED, reason="It\x1b[2Jbroke."), None)
    assert result_line(failed) == "film.mkv: failed: It�[2Jbroke."


def test_percent_never_passes_100() -> None:
    assert percent(merge(job(JobStatus.DOWNLOADING), live(2, bytes_total=1_000))) == "100.0 %"
    nearly = live(2, bytes_downloaded=1_999_999)
    assert percent(merge(job(JobStatus.DOWNLOADING), nearly)) == "99.9 %"


def test_each_state_is_printed_once(capsys: object) -> None:
    lines = PlainLines()
    states: Sequence[JobStatus] = (JobStatus.QUEUED, JobStatus.QUEUED, JobStatus.PAUSED)
    for status in states:
        lines.show([merge(job(status), None)])
    out = capsys.readouterr().out  # type: ignore[attr-defined]
    assert out == "film.mkv: queued\nfilm.mkv: paused\n"


@pytest.mark.parametrize(
    ("code", "seconds", "shown"),
    [
        ("http_503", 36, "retrying in 36 s"),
        ("http_503", -1, "retrying now"),
        ("host_busy", 3, "waiting for a slot at example.org"),
        ("user_busy", 3, "waiting for a slot for user ada"),
        ("host_cooling", 90, "cooldown of example.org, in 1 min 30 s"),
        ("disk_full", 30, "disk full"),
        ("disk_unavailable", 10, "disk unavailable"),
        ("part_file_busy", 10, "part file in use"),
        ("worker_resources", 5, "worker out of resources"),
    ],
)
def test_waiting_job_is_shown_as_what_it_waits_for(code: str, seconds: float, shown: str) -> None:
    due = datetime.now(UTC) + timedelta(seconds=seconds + 0.3)
    waiting = job(
        JobStatus.WAITING, error_code=code, next_attempt_at=due, host="example.org", user_id="ada"
    )
    assert state(merge(waiting, None)) == shown
    assert speed_or_state(merge(waiting, None)) == shown


def test_pending_control_request_is_shown() -> None:
    running = job(JobStatus.DOWNLOADING, control="pause")
    assert state(merge(running, None)) == "downloading (pause requested)"
