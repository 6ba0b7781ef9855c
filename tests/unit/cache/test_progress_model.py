"""Percent, time left and version are derived, so that they cannot disagree with the counts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from cache import DownloadProgress
from cache.models import version
from domain.job import JobStatus


def progress(**values: object) -> DownloadProgress:
    return DownloadProgress.model_validate(
        {"job_id": "1", "status": JobStatus.DOWNLOADING, **values}
    )


@pytest.mark.parametrize(
    ("done", "total", "percent"),
    [
        (0, None, None),
        (5, None, None),
        (0, 0, 100.0),
        (0, 10, 0.0),
        (1, 3, 33.3),
        (2, 3, 66.6),
        (999_999, 1_000_000, 99.9),
        (2**62 - 1, 2**62, 99.9),
        (10, 10, 100.0),
        (11, 10, 100.0),
    ],
)
def test_percent(done: int, total: int | None, percent: float | None) -> None:
    assert progress(bytes_downloaded=done, bytes_total=total).progress_percent == percent


@pytest.mark.parametrize(
    ("done", "total", "speed", "seconds"),
    [
        (0, 1_000_000, 8.0, 1),
        (450_000_000, 1_000_000_000, 15.3, 288),
        (10, 10, 1.0, 0),
        (11, 10, 1.0, 0),
        (0, None, 1.0, None),
        (0, 10, 0.0, None),
    ],
)
def test_time_left(done: int, total: int | None, speed: float, seconds: int | None) -> None:
    found = progress(bytes_downloaded=done, bytes_total=total, download_speed_mbps=speed)
    assert found.eta_seconds == seconds


@given(st.integers(0, 2**62), st.integers(0, 2**62))
def test_a_hundred_percent_means_every_byte(done: int, total: int) -> None:
    percent = progress(bytes_downloaded=done, bytes_total=total).progress_percent
    assert percent is not None
    assert 0.0 <= percent <= 100.0
    assert (percent == 100.0) == (done >= total)


@given(
    st.tuples(st.integers(0, 2**20), st.integers(0, 2**32 - 1)),
    st.tuples(st.integers(0, 2**20), st.integers(0, 2**32 - 1)),
)
def test_versions_order_as_fence_and_sequence_do(
    first: tuple[int, int], second: tuple[int, int]
) -> None:
    assert (version(*first) < version(*second)) == (first < second)
    assert float(version(*first)) == version(*first)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("bytes_downloaded", -1),
        ("bytes_total", -1),
        ("download_speed_mbps", -0.1),
        ("download_speed_mbps", float("nan")),
        ("download_speed_mbps", float("inf")),
        ("fence", -1),
        ("status", "dancing"),
    ],
)
def test_a_progress_that_cannot_be_is_refused(field: str, value: object) -> None:
    with pytest.raises(ValidationError, match=field):
        progress(**{field: value})


def test_a_progress_is_written_as_json_with_what_is_derived() -> None:
    text = progress(bytes_downloaded=1, bytes_total=4).model_dump_json()
    assert '"progress_percent":25.0' in text
    assert '"eta_seconds":null' in text
