"""Answers of the service as JSON, made by the service's own code."""

from __future__ import annotations

from typing import Any

from tasks.api.job_json import job_as_json
from tasks.api.job_view import JobView
from tests.support.build import new_job

ID = "0197a2f0-3c5a-7d10-8b00-5f1c0a9e4d21"


def download_json(**changes: Any) -> dict[str, Any]:
    """A download as the service shows it."""
    return {**job_as_json(JobView.merge(new_job(), None)), "id": ID, **changes}


#: A good answer to any operation: the client takes from it what it knows.
ANYTHING: dict[str, Any] = {
    **download_json(),
    "downloads": [],
    "next_cursor": None,
    "results": [],
    "accepted": 0,
    "refused": [],
    "changed": 0,
    "unchanged": 0,
    "total": {"limit": None, "is_default": True, "used": 0},
    "concurrent_downloads": {"limit": None, "is_default": True, "running": 0},
    "hosts": [],
    "jobs": [],
    "role": "user",
    "scopes": [],
    "kind": "session",
    "secret": "whsec_c2VjcmV0",
}
