"""What receivers get of the end of a job: the body of a request, or the variables of a program."""

from __future__ import annotations

import json

from database.webhooks import Delivery
from domain.urls import display_url
from tasks.api.job_json import job_as_json
from tasks.api.job_view import JobView


def body_of(delivery: Delivery) -> bytes:
    """Return the JSON of a delivery: its type, when the job ended, and the job as it was then."""
    content = {
        "type": f"download.{delivery.event}",
        "timestamp": delivery.ended_at.isoformat(),
        "data": job_as_json(JobView.merge(delivery.job, None)),
    }
    return json.dumps(content, ensure_ascii=False).encode(errors="backslashreplace")


def variables_of(delivery: Delivery) -> dict[str, str]:
    """Return the variables for a program; those without a value are empty."""
    job = delivery.job
    values: dict[str, object] = {
        "SEEN_JOB_ID": job.id,
        "SEEN_STATUS": delivery.event.value,
        "SEEN_PATH": job.path,
        "SEEN_SHA256": job.sha256,
        "SEEN_BYTES": job.bytes_total if job.bytes_total is not None else job.bytes_downloaded,
        "SEEN_URL": display_url(job.url, secret=job.secret_url),
        "SEEN_HOST": job.host,
        "SEEN_OWNER": job.user_id,
        "SEEN_ERROR_CODE": job.error_code,
        "SEEN_REASON": job.reason,
        "SEEN_ENDED_AT": delivery.ended_at.isoformat(),
        "SEEN_DELIVERY_ID": delivery.message_id,
    }
    return {name: "" if value is None else str(value) for name, value in values.items()}
