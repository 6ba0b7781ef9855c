"""The short run of webhooks: each kind of fault once, and each end arrives in order."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.webhooks.run import KINDS, run_webhooks


@pytest.mark.timeout(400)
def test_ends_arrive_though_receiver_api_and_workers_break(tmp_path: Path) -> None:
    outcome = run_webhooks(tmp_path, faults=len(KINDS), seed=5, say=print)
    assert not outcome.violations, "\n".join(outcome.violations)
    assert outcome.ends >= outcome.jobs >= len(KINDS)
    assert outcome.arrivals >= outcome.deliveries >= outcome.ends
