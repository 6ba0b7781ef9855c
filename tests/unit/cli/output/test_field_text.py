"""The fields of a job as `seen show` prints them."""

from __future__ import annotations

from cli.output import formatting
from cli.output.field_text import fields
from domain.job import JobStatus
from tasks import JobView
from tasks.api.job_json import JobDict, job_as_json
from tests.support.inputs.job_views import NOW, job, live


def test_numbers_have_the_units_of_all_commands_and_times_are_local() -> None:
    view = JobView.merge(
        job(JobStatus.DOWNLOADING, max_bytes=5_000_000_000, max_rate=1_000_000),
        live(2, bytes_total=20_000_000),
    )
    shown = dict(fields(job_as_json(view)))
    assert shown["bytes_downloaded"] == "1.5 MB (1,500,000 bytes)"
    assert shown["bytes_total"] == "20.0 MB (20,000,000 bytes)"
    assert shown["max_bytes"] == "5.0 GB (5,000,000,000 bytes)"
    assert shown["rate_limit"] == "1.0 MB/s"
    assert shown["speed"] == "1.0 MB/s"
    assert shown["time_left"] == "18 s"
    assert shown["progress"] == "7.5 %"
    assert shown["created_at"] == formatting.moment(NOW)
    assert "path" not in shown


def test_each_field_can_be_shown() -> None:
    values = job_as_json(JobView.merge(job(JobStatus.QUEUED), None))
    for name in JobDict.__annotations__:
        value = NOW.isoformat() if name.endswith("_at") else 1
        values[name] = value  # type: ignore[literal-required]
    shown = fields(values)
    assert len(shown) == len(JobDict.__annotations__)
    assert all(text for _, text in shown)
