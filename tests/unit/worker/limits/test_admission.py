"""A transfer that starts beside many others gets a rate without a look at each of them."""

from __future__ import annotations

import pytest

from domain.limits import TOTAL, host_scope, job_scope
from worker.limits.transfer_rate import Share, TransferRate, admit

HOST = "example.org"


@pytest.mark.parametrize(
    ("limits", "shares", "own", "rate"),
    [
        ({}, {}, None, None),
        ({}, {}, 5_000, 5_000),
        ({TOTAL: 1_000_000}, {TOTAL: Share(800_000, 900_000)}, None, 4_000),
        ({TOTAL: 1_000_000}, {TOTAL: Share(800_000, 900_000)}, 2_000, 2_000),
        ({TOTAL: 1_000_000}, {TOTAL: Share(800_000, 3_000)}, None, 3_000),
        (
            {TOTAL: 1_000_000, host_scope(HOST): 100_000},
            {TOTAL: Share(800_000, 900_000), host_scope(HOST): Share(100_000, 100_000)},
            None,
            500,
        ),
        ({host_scope("other.org"): 1_000}, {}, None, None),
        ({job_scope("a"): 1_500}, {}, 9_000, 1_500),
    ],
)
def test_a_new_transfer_gets_half_of_an_equal_part(
    limits: dict[str, int], shares: dict[str, Share], own: int | None, rate: float | None
) -> None:
    transfer = TransferRate("a", HOST, own)
    admit(transfer, 100, limits, shares)
    assert transfer.rate == rate


def test_with_a_limit_whose_share_is_unknown_it_starts_slowly() -> None:
    transfer = TransferRate("a", HOST)
    admit(transfer, 100, {TOTAL: 10**9}, {})
    assert transfer.rate is not None
    assert 0 < transfer.rate < 10**6
