"""Celery's pool of this project: downloads go to the job pool, periodic tasks run in threads."""

from worker.celery_ext.pool.task_pool import TaskPool

__all__ = ["TaskPool"]
