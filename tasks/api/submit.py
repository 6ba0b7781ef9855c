"""Submitting jobs: SQL first, then the broker.

Each function takes this process's runtime unless it is given one. A job that SQL has accepted stays
accepted without broker: beat publishes it when the broker is back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from datetime import datetime
from operator import attrgetter
from pathlib import Path
from typing import Any

from domain.dedup import request_fingerprint, scoped_key
from domain.errors import InvalidInputError
from domain.ids import new_job_id
from domain.job import Job, JobStatus, SubmittedJob
from domain.request import DownloadRequest
from domain.request_fields import HIDDEN
from domain.urls import host_of
from worker import tracing
from worker.app import current_runtime
from worker.credentials import CredentialCipher, RequestCredentials
from worker.runtime import Runtime
from worker.webhooks.secrets import KEY_IS_MISSING

_JOB_FIELDS = tuple(field.name for field in fields(Job))
#: What a job has of its request, under the same name.
_COPIED = tuple(
    name
    for name, field in DownloadRequest.model_fields.items()
    if name in _JOB_FIELDS and not field.exclude and name != "max_attempts"
)
_copied = attrgetter(*_COPIED)


def submit(request: DownloadRequest, *, runtime: Runtime | None = None) -> SubmittedJob:
    """Accept one download and return its job.

    The job is stored, then published. Without broker it stays queued (`published_at` is None) and starts
    when the broker is back.

    An unfinished job for the same request (`domain.dedup.request_fingerprint`) is returned instead of a
    new one, in any state, unless its cancel is pending. So is the job of an earlier request with
    the same idempotency key, in any state. `is_new` says which it was.

    Raises:
        InvalidInputError: the folder is a file, or outside the download folder, or there is no key to
            encrypt headers, login or cookies with, or for the secret of a webhook; nothing was stored.
        IdempotencyKeyReusedError: the idempotency key belongs to a different request.
        DatabaseUnavailableError: nothing was stored.
    """
    return submit_many([request], runtime=runtime)[0]


def submit_many(
    requests: Sequence[DownloadRequest], *, runtime: Runtime | None = None, paused: bool = False
) -> list[SubmittedJob]:
    """Accept several downloads, all or none, and return their jobs in the same order.

    It is one transaction, in which nothing else is written to SQLite: for about a second with 10,000
    requests.

    Args:
        requests: the downloads.
        runtime: of this process.
        paused: new jobs do not start before they are resumed.
    """
    runtime = runtime or current_runtime()
    check_folders(dict.fromkeys(request.directory for request in requests), runtime)
    check_webhooks(requests, runtime)
    cipher, max_attempts = runtime.credential_cipher, runtime.settings.max_attempts
    now = runtime.now()
    status = JobStatus.PAUSED if paused else JobStatus.QUEUED
    rows = [
        {**_new_row(request, cipher, max_attempts, now), "status": status} for request in requests
    ]
    wanted = [Job(**row) for row in rows]
    pairs = [(job.id, scoped_key(one)) for job, one in zip(wanted, requests, strict=True)]
    accepted = runtime.jobs.add(wanted, {job_id: key for job_id, key in pairs if key is not None})
    # A stored job is new if it has the id that was made here; the others existed before.
    new = {job.id: job for job, own in zip(accepted, wanted, strict=True) if job.id == own.id}
    sent_at = None if paused else runtime.publisher.publish(list(new.values()))
    if tracing.active is not None:
        tracing.active.submitted(new.values())
    submitted = {
        row["id"]: SubmittedJob(**row, published_at=sent_at, is_new=True)
        for row in rows
        if row["id"] in new
    }
    return [
        submitted[own.id] if job.id == own.id else _existing(submitted.get(job.id, job))
        for job, own in zip(accepted, wanted, strict=True)
    ]


def fields_of(job: Job, cipher: CredentialCipher) -> dict[str, Any]:
    """Return the fields of the request that a job was made for, credentials too.

    Raises:
        PermanentError: the credentials cannot be decrypted.
    """
    secrets = cipher.decrypt(job)
    return {
        **{name: getattr(job, name) for name in (*_COPIED, "max_attempts")},
        **{field.name: getattr(secrets, field.name) for field in fields(secrets)},
    }


def revise(job: Job, request: DownloadRequest, *, what: str, runtime: Runtime) -> Job | None:
    """Make a job that no worker has claimed yet one for another request; see `JobRepository.revise`.

    Args:
        job: as read.
        request: with the URL of the job.
        what: was changed, for the history.
        runtime: of this process.
    """
    cipher, secrets = runtime.credential_cipher, RequestCredentials.of(request)
    fingerprint = cipher.fingerprint(secrets)
    wanted = {name: getattr(request, name) for name in (*_COPIED, "max_attempts")}
    wanted["dedup_key"] = request_fingerprint(request, fingerprint)
    changes = {name: value for name, value in wanted.items() if value != getattr(job, name)}
    if fingerprint != cipher.fingerprint(cipher.decrypt(job)):
        changes["secrets"] = cipher.encrypt(job.id, secrets)
    if not changes:
        return job
    return runtime.jobs.revise(job, changes, now=runtime.now(), reason=f"changed: {what}")


def _existing(job: Job) -> SubmittedJob:
    return SubmittedJob(**{name: getattr(job, name) for name in _JOB_FIELDS}, is_new=False)


def check_folders(directories: Iterable[str], runtime: Runtime) -> None:
    """Raise InvalidInputError if one is a file, or outside the download folder."""
    for directory in directories:
        _check_folder(directory, runtime.resolve(directory))


def check_webhooks(requests: Sequence[DownloadRequest], runtime: Runtime) -> None:
    """Raise InvalidInputError if one has a webhook, and there is no key for the secret that signs."""
    if not runtime.settings.secret_keys and any(one.webhook is not None for one in requests):
        raise InvalidInputError("webhook", HIDDEN, KEY_IS_MISSING)


def _check_folder(directory: str, folder: Path) -> None:
    """Raise InvalidInputError if it is a file, or in one. Only the workers know all that is there."""
    with suppress(OSError):
        for path in (folder, *folder.parents):
            if path.is_file():
                raise InvalidInputError("directory", directory, f"{path} is a file; name a folder.")


def _new_row(
    request: DownloadRequest, cipher: CredentialCipher, max_attempts: int, now: datetime
) -> Mapping[str, Any]:
    """Return the fields of the job for a request, but its state."""
    job_id = new_job_id()
    secrets = RequestCredentials.of(request)
    return {
        **dict(zip(_COPIED, _copied(request), strict=True)),
        "id": job_id,
        "host": host_of(request.url),
        "secrets": cipher.encrypt(job_id, secrets),
        "dedup_key": request_fingerprint(request, cipher.fingerprint(secrets)),
        "created_at": now,
        "updated_at": now,
        "max_attempts": request.max_attempts or max_attempts,
    }
