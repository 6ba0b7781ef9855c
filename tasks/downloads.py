"""The task of the download queues."""

from __future__ import annotations

from celery import Task

from worker.app import app, current_job_pool
from worker.broker.task_messages import DOWNLOAD_TASK
from worker.celery_ext.pool.download_task import ENDS, job_message
from worker.celery_ext.task_states import DownloadNotCompletedError, Request, end_task


@app.task(name=DOWNLOAD_TASK, bind=True, Request=Request, throws=(DownloadNotCompletedError,))
def run(self: Task[..., str], job_id: str, *more: str) -> str:
    """End a message with the ends of its jobs, which the project's pool has run before this is called.

    Pools of Celery do not know jobs: with them this runs the jobs, and waits for all.
    """
    ends = self.request.get(ENDS)
    if ends is None:
        ends = current_job_pool().run(job_message((job_id, *more), vars(self.request)))
    return end_task(ends)
