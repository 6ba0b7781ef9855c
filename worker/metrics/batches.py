"""Measures the batches of an event loop: transactions of the database, pipelines of store and broker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from worker.metrics.catalog import BATCH_DURATION, BATCH_SIZE
from worker.metrics.instruments import Instruments

T = TypeVar("T")

#: What runs a batch, as `Batcher` takes it.
Run = Callable[[Sequence[T]], Sequence[Any]]


def timed_batches(instruments: Instruments, server: str, run: Run[T]) -> Run[T]:
    """Return `run`, measured.

    Args:
        instruments: of the process.
        server: database, store or broker.
        run: runs a batch.
    """

    def timed(items: Sequence[T]) -> Sequence[Any]:
        instruments.observe(BATCH_SIZE, len(items), server)
        with instruments.timed(BATCH_DURATION, server):
            return run(items)

    return timed
