"""Numbers and names as people read them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from cli import formats


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (200_000_000, "200.0 MB"),
        (10**15, "1.0 PB"),
        (10**19, "10000.0 PB"),
    ],
)
def test_sizes(count: int, shown: str) -> None:
    assert formats.size(count) == shown


def test_megabits_become_megabytes() -> None:
    assert formats.rate(80.0) == "10.0 MB/s"
    assert formats.rate(0.0) == "0 B/s"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-1, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (3599, "59 min 59 s"),
        (3600, "1 h 00 min"),
        (100_000, "27 h 46 min"),
    ],
)
def test_durations(seconds: float, shown: str) -> None:
    assert formats.duration(seconds) == shown


def test_ages() -> None:
    now = datetime.now(UTC)
    assert formats.ago(now - timedelta(seconds=5)) == "5 s ago"
    assert formats.ago(now - timedelta(days=3, hours=1)) == "3 d ago"


def test_nothing_steers_the_terminal() -> None:
    assert formats.printable("a\x1b[31mb\r\n\u202ec") == "a�[31mb���c"
    assert formats.printable("Füße 映画.mkv") == "Füße 映画.mkv"
