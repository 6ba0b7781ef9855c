"""The task `broker.sweep`: removes what killed processes left in the broker's database."""

from __future__ import annotations

import logging

from tasks.periodic.run_once import one_at_a_time
from worker.app import app
from worker.broker.cleanup import Swept
from worker.runtime import Runtime

logger = logging.getLogger(__name__)


def sweep_broker(runtime: Runtime) -> Swept:
    """Run one sweep (`worker.broker.cleanup`), and return what it found."""
    swept = runtime.broker.sweep()
    if any(swept):
        logger.info("Swept the broker: %s", swept)
    return swept


app.task(name="broker.sweep")(one_at_a_time(sweep_broker))
