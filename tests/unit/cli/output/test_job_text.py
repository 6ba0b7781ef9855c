"""Progress and states as text."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from cli.output.job_state import state
from cli.output.job_text import amount, percent, result_line, speed_or_state, states
from cli.output.progress.endings import wait_text
from domain.job import JobStatus
from domain.remedies.disks import DISK_SILENT, silence
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


NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)


def test_download_without_bytes_for_five_seconds_is_stalled() -> None:
    def silent(seconds: float) -> JobView:
        times = {"updated_at": NOW, "last_byte_at": NOW - timedelta(seconds=seconds)}
        return merge(job(JobStatus.DOWNLOADING), live(2, **times))

    assert speed_or_state(silent(4.9)) == "1.0 MB/s, 0 s left"
    assert speed_or_state(silent(12)) == "stalled for 12 s"
    assert states(silent(12), NOW) == ("stalled for 12 s", "stalled")


def test_download_whose_disk_hangs_says_so() -> None:
    def hanging(**changes: object) -> JobView:
        times = {"updated_at": NOW, "last_byte_at": NOW - timedelta(seconds=60)}
        fields = {"error_code": DISK_SILENT, "reason": silence("/mnt/disk")} | times
        return merge(job(JobStatus.DOWNLOADING, **changes), live(2, **fields))

    assert speed_or_state(hanging()) == "disk does not answer"
    assert states(hanging(), NOW)[::2] == ("disk does not answer", "disk hangs")
    pausing = "disk does not answer (pause requested)"
    assert states(hanging(control="pause"), NOW)[0] == pausing
    assert wait_text(hanging()) == f"film.mkv: disk does not answer. {silence('/mnt/disk')}"
    waiting = merge(job(JobStatus.WAITING, error_code=DISK_SILENT), None)
    assert not waiting.has_silent_disk


@pytest.mark.parametrize(
    ("code", "reason", "advice"),
    [
        ("http_404", "The origin answered 404 Not Found.", "Check the URL."),
        ("http_403", "The origin answered 403 Forbidden.", "(-u) or a header (-H)."),
        ("no_such_host", "The host name does not exist.", "Check the host's name"),
        ("checksum_mismatch", "sha256 is 1, expected 2.", "Check the expected checksum"),
        ("too_large", "The file has 9 bytes; at most 5 are allowed.", "Raise --max-bytes"),
        ("too_large", "The file has 9 bytes; the whole volume of / has 5.", "has 5."),
        ("bad_name", "Give the file another name (--name).", "another name (--name)."),
        ("new_code", "Something else.", "Something else."),
    ],
)
def test_failure_says_what_to_do(code: str, reason: str, advice: str) -> None:
    text = result_line(merge(job(JobStatus.FAILED, error_code=code, reason=reason), None))
    assert text.startswith(f"film.mkv: failed: {reason}")
    assert advice in text
