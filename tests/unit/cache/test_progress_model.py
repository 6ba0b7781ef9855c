"""Percent, time left and version are derived, so that they cannot disagree with the counts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from cache import STORED, DownloadProgress
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


# ── percent and time left as arguments ──────────────────────────────────────────────────────────

HALF = {"bytes_downloaded": 4567, "bytes_total": 10_000, "download_speed_mbps": 8.0}


@pytest.mark.parametrize("percent", [None, 45, 46, 45.6, 45.67])
@pytest.mark.parametrize("eta", [None, 0, 120, 1e9])
def test_a_stated_percent_and_time_left_are_replaced_by_the_computed_ones(
    percent: float | None, eta: float | None
) -> None:
    given = progress(**HALF, progress_percent=percent, eta_seconds=eta)
    assert given == progress(**HALF)
    assert (given.progress_percent, given.eta_seconds) == (45.6, 0)
    assert DownloadProgress.model_validate_json(given.model_dump_json()) == given


@pytest.mark.parametrize(
    "fields",
    [
        {**HALF, "progress_percent": 44},
        {**HALF, "progress_percent": 47},
        {"progress_percent": 45},
        {"progress_percent": 45, "bytes_downloaded": 45},
        {"progress_percent": -1},
        {"progress_percent": 100.5},
        {"progress_percent": float("nan")},
        {"progress_percent": "half"},
        {"eta_seconds": -1},
        {"eta_seconds": float("nan")},
        {"eta_seconds": float("inf")},
        {"eta_seconds": "soon"},
    ],
)
def test_a_stated_number_that_cannot_be_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=r"progress_percent|eta_seconds"):
        progress(**fields)


def test_a_percent_that_another_version_has_stored_is_computed_again() -> None:
    text = progress(bytes_downloaded=1, bytes_total=4).model_dump_json().replace("25.0", "9.0")
    assert '"progress_percent":9.0' in text
    found = DownloadProgress.model_validate_json(text, context=STORED)
    assert found.progress_percent == 25.0


def test_zero_percent_may_be_stated_without_a_total() -> None:
    assert progress(progress_percent=0, eta_seconds=0).progress_percent is None
