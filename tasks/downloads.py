"""The task of the download queues."""

from __future__ import annotations

from celery import Task

from worker.app import app, current_runtime
from worker.broker.client import read_time
from worker.broker.queues import priority_of
from worker.broker.task_messages import DOWNLOAD_TASK, SENT_AT
from worker.runner import run_download


@app.task(name=DOWNLOAD_TASK, bind=True)
def run(self: Task[[str], str], job_id: str) -> str:
    """Run one job; the message is only a hint, SQL decides whether there is anything to do."""
    queue = str((self.request.delivery_info or {}).get("routing_key"))
    sent_at = read_time(self.request.get(SENT_AT))
    return run_download(current_runtime(), job_id, priority_of(queue), sent_at).value
