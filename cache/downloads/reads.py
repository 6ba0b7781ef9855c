"""Reads progress hashes, also of job ids that came from outside."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from cache.downloads import indexes as download_index
from cache.downloads.progress_hash import read_hash
from cache.keys import KeyBuilder, possible_key
from cache.log_once import LogOnce
from cache.models import DownloadProgress
from cache.store import scripts
from cache.store.flow import Flow
from domain.errors import StoreReplyError
from domain.job import RUNNING


class ProgressReader:
    """Flows that read progress hashes. A hash that cannot be read is logged once, and left out."""

    def __init__(self, keys: KeyBuilder, log_once: LogOnce) -> None:
        self._keys = keys
        self._log_once = log_once

    def possible(self, job_ids: Iterable[Any]) -> list[tuple[str, str]]:
        """Return job ids with their keys, without those that no key can have."""
        keyed = ((one, possible_key(self._keys.download_job_key, one)) for one in job_ids)
        return [(job_id, key) for job_id, key in keyed if key is not None]

    def read(self, job_ids: Iterable[Any]) -> Flow[dict[str, DownloadProgress]]:
        """Return the progress of those jobs that have one, by job id."""
        found: dict[str, DownloadProgress] = {}
        for batch in download_index.batches(self.possible(job_ids)):
            commands = [("HGETALL", key) for _, key in batch]
            hashes = yield from scripts.run_pipeline([], commands, keep_reply_errors=True)
            self._log_once.log_errors(hashes)
            for (job_id, _), raw in zip(batch, hashes, strict=True):
                if isinstance(raw, StoreReplyError):
                    continue
                progress = read_hash(job_id, dict(zip(raw[::2], raw[1::2], strict=True)))
                if progress is not None:
                    found[job_id] = progress
        return found

    def running(self, job_ids: Sequence[str]) -> Flow[list[DownloadProgress]]:
        """Return the progress of those jobs that run, in their order."""
        found = yield from self.read(job_ids)
        running = (found[job_id] for job_id in job_ids if job_id in found)
        return [progress for progress in running if progress.status in RUNNING]
