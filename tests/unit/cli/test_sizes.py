"""Sizes and rates as typed: one rule for `--max-bytes` and for `seen limit`."""

from __future__ import annotations

import pytest

from cli.arguments.sizes import parse_rate, parse_size
from domain.errors import InvalidInputError

SIZES = [
    ("5000", 5000),
    ("12B", 12),
    ("1.5k", 1500),
    ("1.5kB", 1500),
    ("1.5K", 1500),
    ("500KiB", 500 * 2**10),
    ("10M", 10**7),
    ("10 MB", 10**7),
    ("10Mi", 10 * 2**20),
    (" 5GiB ", 5 * 2**30),
    ("5 gb", 5 * 10**9),
    ("0.1T", 10**11),
    ("2Ti", 2**41),
]
NOT_SIZES = [
    "",
    "G",
    "M",
    "-1",
    "-5M",
    "1e9",
    "5X",
    "5iB",
    "5i",
    "5 5",
    "٥",
    "٥M",
    "1,5G",
    "1.M",
    "inf",
]


@pytest.mark.parametrize(("text", "size"), SIZES)
def test_sizes_and_rates_follow_one_rule(text: str, size: int) -> None:
    assert parse_size("--max-bytes", text) == size
    if size >= 1024:
        assert parse_rate("--total", text) == size


@pytest.mark.parametrize("text", NOT_SIZES)
def test_other_texts_are_refused_with_the_option(text: str) -> None:
    with pytest.raises(InvalidInputError, match=r"^--max-bytes: .*5GiB"):
        parse_size("--max-bytes", text)
    with pytest.raises(InvalidInputError, match=r"^--total: .*10M"):
        parse_rate("--total", text)


@pytest.mark.parametrize("text", ["none", "None"])
def test_none_is_no_limit(text: str) -> None:
    assert parse_rate("--total", text) is None


@pytest.mark.parametrize("text", ["0", "1k", "1023", "9999999T"])
def test_rate_out_of_range_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match=r"^--total: .*1Ki to 1024Ti"):
        parse_rate("--total", text)


def test_size_of_zero_is_left_to_the_request() -> None:
    assert parse_size("--max-bytes", "0") == 0
