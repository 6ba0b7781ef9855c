"""Celery's autoscaler (``--autoscale MAX,MIN``), which counts jobs instead of messages."""

from __future__ import annotations

from typing import Any

from celery.worker import autoscale

from worker.celery_ext.pool.task_pool import TaskPool

_CeleryAutoscaler: Any = autoscale.Autoscaler  # its stub lacks what a subclass may do


class Autoscaler(_CeleryAutoscaler):  # type: ignore[misc]
    """Lets the project's pool grow to as many slots as it has jobs; other pools as in Celery."""

    #: Jobs of the message that is consumed at this moment; the pool gets it next.
    _arriving = 0

    def __init__(self, pool: Any, max_concurrency: int, *args: Any, **options: Any) -> None:
        super().__init__(pool, max_concurrency, *args, **options)
        self._publish_max()

    def maybe_scale(self, req: Any = None) -> None:
        """Grow or shrink; called for each message, and every 30 seconds."""
        self._arriving = len(req.args) or 1 if req is not None else 0
        try:
            super().maybe_scale(req)
        finally:
            self._arriving = 0

    def update(self, max: int | None = None, min: int | None = None) -> Any:
        """Change the range (``celery control autoscale``)."""
        updated = super().update(max, min)
        self._publish_max()
        return updated

    @property
    def qty(self) -> int:
        """How many slots could be used now."""
        if isinstance(self.pool, TaskPool):
            return self.pool.jobs_in_hand + self._arriving
        return int(super().qty)

    def _publish_max(self) -> None:
        if isinstance(self.pool, TaskPool):
            self.pool.max_limit = self.max_concurrency
