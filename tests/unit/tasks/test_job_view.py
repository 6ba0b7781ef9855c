"""A job's view joins its row and its progress hash; its JSON has the documented fields."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from cli.output.tables import print_list
from domain.job import JobStatus
from tasks import JobDict, JobView, WaitingFor, job_as_json
from tests.support.inputs.job_views import NOW, job, live

merge = JobView.merge


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


def test_job_as_json() -> None:
    shown = job_as_json(merge(job(JobStatus.DOWNLOADING), live(2)))
    assert list(shown) == list(JobDict.__annotations__)
    assert shown["url"] == "https://example.com/a/film.mkv?token=secret"
    assert shown["created_at"] == "2026-01-02T00:00:00+00:00"
    assert (shown["progress_percent"], shown["speed_mbps"], shown["eta_seconds"]) == (75.0, 8.0, 0)
    assert (shown["status"], shown["waiting_for"]) == ("downloading", None)
    json.dumps(shown)


@pytest.mark.parametrize(
    ("code", "waiting_for"),
    [
        (None, "retry"),
        ("http_503", "retry"),
        ("host_busy", "host_slot"),
        ("host_cooling", "host_cooldown"),
        ("user_busy", "user_slot"),
        ("total_busy", "total_slot"),
        ("disk_full", "disk_space"),
        ("disk_unavailable", "disk"),
        ("part_file_busy", "part_file"),
        ("worker_resources", "worker_resources"),
    ],
)
def test_json_of_a_waiting_job_has_what_it_waits_for(code: str | None, waiting_for: str) -> None:
    view = merge(job(JobStatus.WAITING, error_code=code), None)
    assert view.waiting_for is WaitingFor(waiting_for)
    shown = job_as_json(view)
    assert (shown["status"], shown["waiting_for"]) == ("waiting", waiting_for)


def test_time_to_the_next_attempt() -> None:
    soon = datetime.now(UTC) + timedelta(seconds=36)
    waiting = merge(job(JobStatus.WAITING, next_attempt_at=soon), None)
    assert 30 < waiting.seconds_to_next_attempt <= 36
    assert merge(job(JobStatus.WAITING, next_attempt_at=NOW), None).seconds_to_next_attempt == 0
    assert merge(job(JobStatus.QUEUED), None).seconds_to_next_attempt == 0


SIGNED = "https://example.com/a/film.mkv?n=17&token=hunter2"


@pytest.mark.parametrize(
    ("changes", "label", "lasting_label"),
    [
        ({"url": SIGNED}, "film.mkv?n=17", "film.mkv?n=17"),
        ({"url": SIGNED, "name": "x"}, "x", "x"),
        ({"url": SIGNED, "path": "/d/film (1).mkv"}, "film (1).mkv", "film.mkv?n=17"),
        ({"url": SIGNED, "name": "x", "path": "/d/x (1)"}, "x (1)", "x (1)"),
        ({"url": "https://example.com/a?sig=1", "path": "/d/a (1)"}, "a (1)", "a (1)"),
        ({"url": SIGNED, "secret_url": True, "path": "/d/y"}, "y", "y"),
        ({"url": "https://example.com/?n=17"}, "download?n=17", "download?n=17"),
        ({"url": SIGNED, "secret_url": True}, "example.com/…", "example.com/…"),
        ({"url": SIGNED, "secret_url": True, "name": "x"}, "x", "x"),
    ],
)
def test_names_of_a_job_tell_it_apart_without_secrets(
    changes: dict[str, object],
    label: str,
    lasting_label: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    view = merge(job(JobStatus.QUEUED, **changes), None)
    assert (view.label, view.lasting_label) == (label, lasting_label)
    print_list([view], {view.job.id: "1"})
    assert capsys.readouterr().out.splitlines()[1].rstrip().endswith(f"  {label}")


def test_whole_urls_are_shown_to_the_owner_unless_secret() -> None:
    mirrored = {"url": SIGNED, "mirrors": (f"{SIGNED}2",)}
    view = merge(job(JobStatus.QUEUED, **mirrored, name="x"), None, shows_urls=True)
    assert (view.label, view.lasting_label) == (SIGNED, SIGNED)
    shown = job_as_json(view)
    assert (shown["url"], shown["mirrors"]) == (SIGNED, [f"{SIGNED}2"])
    assert shown["secret_url"] is False

    secret = merge(job(JobStatus.QUEUED, **mirrored, secret_url=True), None, shows_urls=True)
    shown = job_as_json(secret)
    assert shown["url"] == "https://example.com/…"
    assert shown["mirrors"] == ["https://example.com/…"]
    assert shown["secret_url"] is True
    for text in (secret.label, secret.lasting_label, json.dumps(shown), repr(secret)):
        assert "film" not in text
