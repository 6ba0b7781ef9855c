"""What the benchmarks take on the command line."""

from __future__ import annotations

import pytest

from bench.scale.main import _parser


@pytest.mark.parametrize(
    ("given", "databases"),
    [([], []), (["sqlite"], ["sqlite"]), (["sqlite", "postgresql"], ["sqlite", "postgresql"])],
)
def test_scale_measures_the_named_databases_or_all(given: list[str], databases: list[str]) -> None:
    assert _parser().parse_args(given).databases == databases


def test_scale_refuses_other_databases(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        _parser().parse_args(["mysql"])
    assert "'mysql' is not one of sqlite, postgresql" in capsys.readouterr().err
