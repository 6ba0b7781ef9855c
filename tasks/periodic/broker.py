"""The broker's database is tidied up: what `broker.sweep` does, by `worker.broker.cleanup`."""

from __future__ import annotations

import logging

from tasks.periodic.run_once import one_at_a_time
from worker.app import app
from worker.broker.cleanup import Swept
from worker.runtime import Runtime

logger = logging.getLogger(__name__)


def sweep_broker(runtime: Runtime) -> Swept:
    """Put an end to what killed processes left in the broker, and return how much it was."""
    swept = runtime.broker.sweep()
    if any(swept):
        logger.info("Swept the broker: %s", swept)
    return swept


app.task(name="broker.sweep")(one_at_a_time(sweep_broker))
