"""The task of the download queue."""

from __future__ import annotations

from worker.app import app, current_runtime
from worker.runner import run_download


@app.task(name="download.run")
def run(job_id: str) -> str:
    """Run one job; the message is only a hint, SQL decides whether there is anything to do."""
    return run_download(current_runtime(), job_id).value
