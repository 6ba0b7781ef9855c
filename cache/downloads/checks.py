"""Checks of the arguments of `DownloadCache`."""

from __future__ import annotations

from typing import Any

from cache import arguments
from cache.keys import KeyBuilder
from cache.models import DownloadProgress


def storable(progress: Any, keys: KeyBuilder) -> DownloadProgress:
    """Check a progress: its ids must have keys, and the store must represent its numbers exactly."""
    found = arguments.instance("progress", progress, DownloadProgress)
    for name in ("fence", "sequence"):
        arguments.integer(name, getattr(found, name), most=arguments.LARGEST_EXACT_INTEGER)
    for name in ("bytes_downloaded", "bytes_durable"):
        arguments.integer(name, getattr(found, name))
    if found.bytes_total is not None:
        arguments.integer("bytes_total", found.bytes_total)
    keys.download_job_key(found.job_id)
    if found.user_id is not None:
        keys.user_downloads_key(found.user_id)
    return found


def pairs(field: str, values: Any) -> list[tuple[str, int]]:
    """Check a list of (job id, number)."""
    return [
        (arguments.string("job_id", job_id), arguments.integer(field, number))
        for job_id, number in arguments.pairs(field, values)
    ]
