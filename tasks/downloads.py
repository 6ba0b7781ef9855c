"""The task of the download queues."""

from __future__ import annotations

from celery import Task

from worker.app import app, current_job_pool
from worker.broker.client import read_time
from worker.broker.queues import priority_of
from worker.broker.task_messages import DOWNLOAD_TASK, SENT_AT
from worker.celery_ext.task_states import DownloadNotCompletedError, Request, end_task
from worker.job_pool import JobMessage


@app.task(name=DOWNLOAD_TASK, bind=True, Request=Request, throws=(DownloadNotCompletedError,))
def run(self: Task[..., str], *job_ids: str) -> str:
    """Run the jobs of a message, which is only a hint: SQL decides whether there is anything to do."""
    queue = str((self.request.delivery_info or {}).get("routing_key"))
    sent_at = read_time(self.request.get(SENT_AT))
    ends = current_job_pool().run(JobMessage(job_ids, priority_of(queue), sent_at, queue))
    return end_task(ends[0].outcome, ends[0].reason)
