"""Rates as people type them and as they are shown."""

from __future__ import annotations

import pytest

from cli.commands.limit import parse_rate, rate_text
from domain.errors import InvalidInputError


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("1024", 1024),
        ("500k", 512_000),
        ("10M", 10 * 2**20),
        ("1.5g", 3 * 2**29),
        ("2T", 2**41),
        ("none", None),
        ("None", None),
    ],
)
def test_a_rate_is_read_as_curl_and_wget_do(text: str, rate: int | None) -> None:
    assert parse_rate("--total", text) == rate


@pytest.mark.parametrize(
    "text",
    ["", "0", "1023", "-5M", "5MB", "5 M", "M", "1e9", "nan", "inf", "٥M", "9999999T", "1.M"],
)
def test_anything_else_is_refused_with_its_option(text: str) -> None:
    with pytest.raises(InvalidInputError, match=r"^--total: "):
        parse_rate("--total", text)


@pytest.mark.parametrize(
    ("rate", "shown"),
    [
        (1024, "1K (1.0 kB/s)"),
        (10 * 2**20, "10M (10.5 MB/s)"),
        (3 * 2**29, "1.5G (1.6 GB/s)"),
        (1500, "1.46484K (1.5 kB/s)"),
    ],
)
def test_a_rate_is_shown_as_it_may_be_typed(rate: int, shown: str) -> None:
    assert rate_text(rate) == shown
