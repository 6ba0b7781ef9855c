"""Submitting jobs: SQL first, then the broker.

Each function takes this process's runtime unless it is given one. A job that SQL has accepted stays
accepted without broker: beat publishes it when the broker is back.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import fields, replace
from datetime import datetime
from pathlib import Path

from domain.dedup import request_fingerprint, scoped_key
from domain.errors import InvalidInputError
from domain.ids import new_job_id
from domain.job import Job, JobStatus, SubmittedJob
from domain.request import DownloadRequest
from domain.urls import host_of
from worker.app import current_runtime
from worker.credentials import CredentialCipher, RequestCredentials
from worker.runtime import Runtime


def submit(request: DownloadRequest, *, runtime: Runtime | None = None) -> SubmittedJob:
    """Accept one download and return its job.

    The job is stored, then published. Without broker it stays queued (`published_at` is None) and starts
    when the broker is back.

    An unfinished job for the same request (`domain.dedup.request_fingerprint`) is returned instead of a
    new one, in any state, unless its cancel is pending. So is the job of an earlier request with
    the same idempotency key, in any state. `is_new` says which it was.

    Raises:
        InvalidInputError: the folder is a file, or outside the download folder, or there is no key to
            encrypt headers, login or cookies with; nothing was stored.
        IdempotencyKeyReusedError: the idempotency key belongs to a different request.
        DatabaseUnavailableError: nothing was stored.
    """
    return submit_many([request], runtime=runtime)[0]


def submit_many(
    requests: Sequence[DownloadRequest], *, runtime: Runtime | None = None
) -> list[SubmittedJob]:
    """Accept several downloads, all or none, and return their jobs in the same order."""
    runtime = runtime or current_runtime()
    cipher, max_attempts = runtime.credential_cipher, runtime.settings.max_attempts
    wanted = []
    for request in requests:
        _check_folder(request.directory, runtime.resolve(request.directory))
        wanted.append(_new_job(request, cipher, max_attempts, runtime.now()))
    pairs = [(job.id, scoped_key(one)) for job, one in zip(wanted, requests, strict=True)]
    accepted = runtime.jobs.add(wanted, {job_id: key for job_id, key in pairs if key is not None})
    # A stored job is new if it has the id that was made here; the others existed before.
    new = {job.id: job for job, own in zip(accepted, wanted, strict=True) if job.id == own.id}
    sent_at = runtime.publisher.publish(list(new.values()))
    if sent_at is not None:
        accepted = [
            replace(one, published_at=sent_at) if one.id in new else one for one in accepted
        ]
    return [
        SubmittedJob(
            **{field.name: getattr(job, field.name) for field in fields(Job)},
            is_new=job.id == own.id,
        )
        for job, own in zip(accepted, wanted, strict=True)
    ]


def _check_folder(directory: str, folder: Path) -> None:
    """Raise InvalidInputError if it is a file, or in one. Only the workers know all that is there."""
    with suppress(OSError):
        for path in (folder, *folder.parents):
            if path.is_file():
                raise InvalidInputError("directory", directory, f"{path} is a file; name a folder.")


def _new_job(
    request: DownloadRequest, cipher: CredentialCipher, max_attempts: int, now: datetime
) -> Job:
    job_id = new_job_id()
    secrets = RequestCredentials.of(request)
    return Job(
        id=job_id,
        host=host_of(request.url),
        secrets=cipher.encrypt(job_id, secrets),
        dedup_key=request_fingerprint(request, cipher.fingerprint(secrets)),
        status=JobStatus.QUEUED,
        created_at=now,
        updated_at=now,
        max_attempts=request.max_attempts or max_attempts,
        **request.model_dump(exclude={"max_attempts"}),
    )
