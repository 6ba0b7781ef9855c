"""Numbers and names as people read them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from cli.errors import report
from cli.output import formatting
from cli.output.formatting import as_json
from domain.text import printable


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
    assert formatting.size(count) == shown


def test_megabits_become_megabytes() -> None:
    assert formatting.rate(10e6) == "10.0 MB/s"
    assert formatting.rate(0.0) == "0 B/s"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-1, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (3599, "59 min 59 s"),
        (3600, "1 h 00 min"),
        (100_000, "27 h 46 min"),
        (360_000, "4 d 04 h"),
    ],
)
def test_durations(seconds: float, shown: str) -> None:
    assert formatting.duration(seconds) == shown


@pytest.mark.parametrize(
    ("done", "total", "shown"),
    [
        (1_500_000, 20_000_000, "1.5 of 20.0 MB"),
        (342_100, 6_000_000, "0.3 of 6.0 MB"),
        (19_999_999, 20_000_000, "19.9 of 20.0 MB"),
        (20_000_000, 20_000_000, "20.0 of 20.0 MB"),
        (5, 900, "5 of 900 B"),
        (2_000, 1_000, "2.0 kB of 1.0 kB"),
        (0, 0, "0 of 0 B"),
    ],
)
def test_two_sizes_have_one_unit_and_the_first_is_rounded_down(
    done: int, total: int, shown: str
) -> None:
    assert formatting.part_of(done, total) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.04, "0.04 s"), (0.999, "1.0 s"), (3.25, "3.2 s"), (9.96, "10 s"), (61, "1 min 01 s")],
)
def test_time_that_something_took(seconds: float, shown: str) -> None:
    assert formatting.elapsed(seconds) == shown


def test_ages() -> None:
    now = datetime.now(UTC)
    assert formatting.ago(now - timedelta(seconds=5)) == "5 s ago"
    assert formatting.ago(now - timedelta(days=3, hours=1)) == "3 d ago"


def test_nothing_steers_the_terminal() -> None:
    assert printable("a\x1b[31mb\r\n\u202ec") == "a�[31mb���c"
    assert printable("Füße 映画.mkv") == "Füße 映画.mkv"


@pytest.mark.parametrize(
    "text", ["\x1b[31m", "\x9b31m", "\x7f", "a\u202eb", "\ud800", "a\nb", "film \u00e9 \U0001f600"]
)
def test_json_holds_no_character_that_a_terminal_acts_on(text: str) -> None:
    shown = as_json({"name": text})
    assert shown.isprintable()
    assert json.loads(shown) == {"name": text}


def test_error_is_one_line_of_visible_characters(capsys: pytest.CaptureFixture[str]) -> None:
    report("said \x1b]0;owned\x07 and\nmore \u202e", "store", as_json=False)
    assert capsys.readouterr().err == "seen: said \\x1b]0;owned\\x07 and more \\u202e\n"
