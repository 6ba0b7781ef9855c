"""Which numbers are shown: the store's or the database's."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from cache.models import DownloadProgress
from cli.output.display import PlainLines, amount, percent, result_line, speed_or_state
from domain.job import Job, JobStatus
from tasks.api.job_view import job_as_json, merge

NOW = datetime(2026, 1, 2, tzinfo=UTC)
JOB_ID = "01a205a2-8d4a-7189-808b-c3a4c179e67d"


def job(status: JobStatus, **changes: object) -> Job:
    values: dict[str, object] = {
        "id": JOB_ID,
        "url": "https://example.com/a/film.mkv?token=secret",
        "directory": "",
        "status": status,
        "max_attempts": 3,
        "created_at": NOW,
        "updated_at": NOW,
        "fence": 2,
        "bytes_downloaded": 10,
    }
    return Job(**(values | changes))  # type: ignore[arg-type]


def live(fence: int, **changes: object) -> DownloadProgress:
    values: dict[str, object] = {
        "job_id": JOB_ID,
        "status": JobStatus.DOWNLOADING,
        "fence": fence,
        "bytes_downloaded": 1_500_000,
        "bytes_total": 2_000_000,
        "download_speed_mbps": 8.0,
    }
    return DownloadProgress.model_validate(values | changes)


def test_the_hash_counts_while_its_claim_is_at_work() -> None:
    running = job(JobStatus.DOWNLOADING)
    assert merge(running, live(2)).progress.bytes_downloaded == 1_500_000
    assert merge(running, live(3)).progress.bytes_downloaded == 1_500_000
    assert merge(running, live(1)).progress.bytes_downloaded == 10
    assert merge(running, None).progress.bytes_downloaded == 10


def test_sql_counts_once_the_claim_is_over() -> None:
    for status in (JobStatus.COMPLETED, JobStatus.PAUSED, JobStatus.WAITING, JobStatus.QUEUED):
        assert merge(job(status), live(2)).status is status
    # Claimed again since the row was read.
    assert merge(job(JobStatus.QUEUED), live(3)).status is JobStatus.DOWNLOADING


def test_a_job_as_programs_see_it() -> None:
    shown = job_as_json(merge(job(JobStatus.DOWNLOADING), live(2)))
    assert shown["url"] == "https://example.com/a/film.mkv?…"
    assert shown["created_at"] == "2026-01-02T00:00:00+00:00"
    assert (shown["progress_percent"], shown["speed_mbps"], shown["eta_seconds"]) == (75.0, 8.0, 0)


def test_a_job_as_people_see_it() -> None:
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


def test_lines_tell_each_state_once(capsys: object) -> None:
    lines = PlainLines()
    states: Sequence[JobStatus] = (JobStatus.QUEUED, JobStatus.QUEUED, JobStatus.PAUSED)
    for status in states:
        lines.show([merge(job(status), None)])
    out = capsys.readouterr().out  # type: ignore[attr-defined]
    assert out == "film.mkv: queued\nfilm.mkv: paused\n"
