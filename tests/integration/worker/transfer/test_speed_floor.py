"""Origins that send next to nothing do not keep a slot; the worker's own rate limits do not count."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from domain.errors import TransientError
from tests.support.origins.origin import Origin
from tests.support.services.transferring import QUICK, Direct
from worker.transfer import stall_detector as stall
from worker.transfer.interfaces import UnlimitedQuota
from worker.transfer.stall_detector import MinimumThroughput

LEAST = 60_000


@pytest.fixture
def direct(direct: Direct, monkeypatch: pytest.MonkeyPatch) -> Direct:
    """Transfers whose minute is a second; only the floor finds them slow."""
    monkeypatch.setattr(stall, "THROUGHPUT_WINDOW", 1.0)
    options = {"low_speed_limit": 1, "low_speed_time": 60, "short_retries": 3}
    direct.options = replace(QUICK, min_bytes_per_minute=LEAST, **options)  # type: ignore[arg-type]
    return direct


@pytest.mark.parametrize("framing", [{}, {"chunked": True}, {"send_length": False}])
def test_trickle_is_given_up(direct: Direct, origin: Origin, framing: dict[str, Any]) -> None:
    url = origin.serve("/a.bin", size=100_000, bytes_per_second=500, **framing).url
    assert direct.failure(url, connections=1) == "too_slow"
    assert len(origin.requests) == 1


def test_trickle_is_gone_on_from(direct: Direct, origin: Origin) -> None:
    file = origin.serve("/a.bin", size=100_000, bytes_per_second=500)
    assert direct.failure(file.url) == "too_slow"
    file.behave(bytes_per_second=None)
    direct.fetch(file.url)
    assert origin.requests[-1].status == 206


def test_trickle_goes_on_without_a_floor(direct: Direct, origin: Origin) -> None:
    direct.options = replace(direct.options, min_bytes_per_minute=0)
    assert direct.fetch(origin.serve("/a.bin", size=1500, bytes_per_second=500).url).size == 1500


def test_rate_of_ours_is_not_slow(direct: Direct, origin: Origin) -> None:
    """3 seconds at half the floor."""
    direct.quota = UnlimitedQuota()
    direct.quota.rate = LEAST / 2
    url = origin.serve("/a.bin", size=3 * LEAST // 2).url
    assert direct.fetch(url).size == 3 * LEAST // 2


def test_answer_that_takes_its_time_is_not_slow(direct: Direct, origin: Origin) -> None:
    direct.fetch(origin.serve("/a.bin", size=1000, delay=2.5).url)


def test_minute_is_of_waiting_alone() -> None:
    minimum = MinimumThroughput(1000)
    minimum.add_wait(59, 100)
    with pytest.raises(TransientError, match="sent 999 bytes"):
        minimum.add_wait(2, 999)
    minimum.add_wait(59, 1999)
    minimum.add_wait(59, 1999)  # 1,000 in a minute are enough
    minimum.add_wait(59, 1999)
    with pytest.raises(TransientError, match="sent 0 bytes"):
        minimum.add_wait(2, 1999)
    with pytest.raises(TransientError, match="sent 0 bytes"):
        minimum.add_wait(61, 0)  # the file was restarted
    MinimumThroughput(0).add_wait(1000, 0)
