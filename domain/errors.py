"""The tree of errors. Each message says what happened, to which value, and what to do.

Foreign errors (pycurl, redis-py, SQLAlchemy, OS) are translated into this tree once, where the library
is called; all other code handles these classes alone.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from domain.limits import SlotWait


class SeenError(Exception):
    """The base of every error this project raises on purpose."""

    #: A short, stable code for programs: it is stored with the job and printed in JSON.
    code = "error"
    #: A sentence at the end of the message, with a command that helps; for terminals only.
    command = ""


# ── what a caller did ────────────────────────────────────────────────────────────────────────────


class InvalidInputError(SeenError):
    """A value from outside is not valid. Nothing was written; exit status 2 on the command line.

    Args:
        field: the name of the argument, option or variable.
        value: what was given (already masked when it is a secret), shown shortened.
        remedy: what would be right, as a sentence.
    """

    code = "invalid_input"

    def __init__(self, field: str, value: object, remedy: str) -> None:
        self.field = field
        self.remedy = remedy
        shown = _shown(value)
        self._shown = shown if len(shown) <= 120 else f"{shown[:117]}…"
        super().__init__(f"{field}: {self._shown} is not valid. {remedy}")

    def about(self, field: str) -> InvalidInputError:
        """Return the same complaint about another field."""
        error = InvalidInputError(field, None, self.remedy)
        error.args = (f"{field}: {self._shown} is not valid. {self.remedy}",)
        return error


def _shown(value: object) -> str:
    """Return the repr of a value from outside, which may be huge, or may have none."""
    try:
        return repr(value[:200] if isinstance(value, str | bytes) else value)
    except Exception:
        return f"<{type(value).__name__}>"


class SettingsError(SeenError):
    """Settings are not valid. The message names the variables."""

    code = "invalid_settings"


class UnknownJobError(SeenError):
    """There is no job with this id."""

    code, command = "unknown_job", "`seen list` shows the jobs there are."

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id
        super().__init__(f"There is no job {job_id!r}. {self.command}")


def in_words(status: str) -> str:
    """Return the predicate of a sentence about a job in this state: "is queued", "has failed", …."""
    return {"completed": "is complete", "failed": "has failed"}.get(status, f"is {status}")


class IllegalTransitionError(SeenError):
    """The job's state does not allow the requested change.

    Args:
        wanted: the requested change as a participle: "paused", "moved", ….
        advice: what to do, as a sentence.
    """

    code = "illegal_transition"

    def __init__(self, job_id: str, status: str, wanted: str, *, advice: str = "") -> None:
        self.job_id, self.status, self.wanted = job_id, status, wanted
        super().__init__(
            f"Job {job_id} {in_words(status)}: it cannot be {wanted}. {advice}".rstrip()
        )


class DuplicateJobError(SeenError):
    """Another unfinished job for the same request exists, so this one cannot be queued."""

    code = "duplicate_job"

    def __init__(self, job_id: str, existing_id: str) -> None:
        self.job_id, self.existing_id = job_id, existing_id
        super().__init__(
            f"Job {job_id} is for the same request as job {existing_id}, which is not finished. "
            f"Use job {existing_id}."
        )


class MessageRefusedError(SeenError):
    """A message was not sent: workers would refuse it, or it would start nothing."""

    code = "message_refused"


class NoResultsError(SeenError, NotImplementedError):
    """A result of a task was asked for; tasks store none."""

    code = "no_results"

    def __init__(self) -> None:
        super().__init__(
            "Tasks store no results: the state of a job is in SQL. `seen show JOB` or `tasks.show` "
            "reads it, and `seen watch` follows it."
        )


class IdempotencyKeyReusedError(SeenError):
    """An idempotency key was used again with a different request. Nothing was written."""

    code = "idempotency_key_reused"

    def __init__(self, job_id: str | None) -> None:
        self.job_id = job_id
        owner = f"job {job_id}" if job_id else "another request of the same call"
        super().__init__(
            f"idempotency_key: it belongs to {owner}, which is a different request. "
            "Use a new key for a new request."
        )


class OutputError(SeenError):
    """Standard output cannot be written.

    Args:
        error: of the operating system.
        effect: what the command has done nevertheless, as a sentence.
    """

    code = "output"

    def __init__(self, error: OSError, effect: str = "") -> None:
        self.error, self.effect = error, effect
        why = "is closed" if error.errno == errno.EBADF else f"cannot be written: {error.strerror}"
        super().__init__(f"Standard output {why}. {effect}".rstrip())

    @property
    def is_quiet(self) -> bool:
        """Whether there is nothing to report: the reader of a pipe has read what it wanted."""
        return self.error.errno == errno.EPIPE and not self.effect


# ── who may do what ──────────────────────────────────────────────────────────────────────────────


class AuthenticationError(SeenError):
    """The caller has not signed in, or what it presents is not valid; the message never says why."""

    code = "authentication"


class ForbiddenError(SeenError):
    """The caller has signed in, and its role or its key does not allow this."""

    code = "forbidden"


class AccountError(SeenError):
    """There is no such user or key, or its state does not allow this (`domain/access/errors.py`)."""


class RateLimitedError(SeenError):
    """Too many requests, or too many failed sign-ins. `retry_after` is in seconds."""

    code = "rate_limited"

    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


# ── services that do not answer ──────────────────────────────────────────────────────────────────


class StoreError(SeenError):
    """The store did not execute a command: loops that retry treat all of these alike."""

    code = "store"


class StoreUnavailableError(StoreError):
    """The store did not answer. Reads treat it as a miss; no lock is granted."""

    code = "store_unavailable"


class StoreRefusesError(StoreUnavailableError):
    """The store answers with a refusal: it is full, a replica, or denies access.

    Args:
        words: the server's error message.
        remedy: what to do, as a sentence.
    """

    code = "store_refuses"

    def __init__(self, words: str, remedy: str) -> None:
        self.words = words
        self.remedy = remedy
        super().__init__(f"The store refuses: {words.rstrip('.')}. {remedy}")


class StoreReplyError(StoreError):
    """The store refused one command: its key holds something else than the command works on."""

    code = "store_reply"


class LockTakenError(SeenError):
    """The lock is held by another holder, or by the caller, who cannot acquire it twice."""

    code = "lock_taken"

    def __init__(self, key: str, *, by_caller: bool = False) -> None:
        self.key = key
        super().__init__(
            f"The caller holds the lock {key} already, and cannot enter it twice."
            if by_caller
            else f"Another holder has the lock {key}. Try again later, or wait for it."
        )


class DatabaseUnavailableError(SeenError):
    """The SQL database did not answer."""

    code = "database_unavailable"


class BackupError(SeenError):
    """A database could not be backed up, restored or migrated back. It is as it was before."""

    code = "backup"


class UnknownRevisionError(SeenError):
    """The tables of the database are of a revision that this program does not know."""

    code = "unknown_revision"

    def __init__(self, revision: str, newest: str) -> None:
        super().__init__(
            f"The database is at revision {revision!r}, which this program does not know (its newest is "
            f"{newest}). A newer version has migrated it: update this program."
        )


# ── how one attempt at a download can end ────────────────────────────────────────────────────────


class TransientError(SeenError):
    """The same request may succeed later: the job waits for another attempt.

    Args:
        message: for people.
        code: the stable code, for example ``http_503`` or ``timeout``.
        retry_after: seconds to wait, from the origin's Retry-After; None without.

    Attributes:
        host: the one that sent it, where a redirect led to another host than the job's.
    """

    code = "transient"

    def __init__(self, message: str, *, code: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.retry_after = retry_after
        self.host: str | None = None


class DiskFullError(TransientError):
    """The file system has too little space for the rest of the file.

    Args:
        message: for people.
        uses_attempt: this file has filled the disk, and its size is unknown: without a limit on the
            attempts it would fill the disk again and again.
    """

    #: Space does not become free within a second or two.
    _PAUSE = 30.0

    def __init__(self, message: str, *, uses_attempt: bool = False) -> None:
        super().__init__(message, code="disk_full", retry_after=self._PAUSE)
        self.uses_attempt = uses_attempt


class DiskUnavailableError(TransientError):
    """The worker's disk or folder cannot be used for now: read-only, unreachable, or broken.

    It uses no attempt, since it says nothing about the job; the part file is kept.
    """

    _PAUSE = 10.0

    def __init__(self, message: str) -> None:
        super().__init__(message, code="disk_unavailable", retry_after=self._PAUSE)


class WorkerResourcesError(TransientError):
    """The worker's process has too few descriptors, too little memory, or too few threads.

    It uses no attempt, since it says nothing about the job.
    """

    _PAUSE = 5.0

    def __init__(self, message: str) -> None:
        super().__init__(message, code="worker_resources", retry_after=self._PAUSE)


class HostBusyError(TransientError):
    """The job may not connect yet: a limit is reached, or its host has a cooldown.

    It uses no attempt. `code` is ``host_busy``, ``user_busy``, ``total_busy`` or ``host_cooling``.
    """

    wait: SlotWait | None = None  # of a job that waits for a slot

    def __init__(self, message: str, *, retry_after: float, code: str) -> None:
        super().__init__(message, code=code, retry_after=retry_after)


class PermanentError(SeenError):
    """Another attempt cannot succeed: the job fails at once."""

    code = "permanent"

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.code = code


class ChecksumMismatchError(PermanentError):
    """The file is complete, and its digest is not the expected one."""

    def __init__(self, algorithm: str, expected: str, actual: str) -> None:
        self.actual = actual
        super().__init__(
            f"{algorithm} is {actual}, expected {expected}. The file was not published.",
            code="checksum_mismatch",
        )


class StoppedError(SeenError):
    """The transfer was stopped by a request or by its worker, not by the origin."""

    code = "stopped"


class CancelledError(StoppedError):
    """The job was cancelled."""

    code = "cancelled"


class PausedError(StoppedError):
    """The job was paused."""

    code = "paused"


class DrainingError(StoppedError):
    """The worker drains and requeues its jobs."""

    code = "draining"


class LeaseLostError(StoppedError):
    """A lock was not renewed in time, or the store has lost it: its holder must not write any more."""

    code = "lease_lost"


class FencedError(SeenError):
    """Another worker has claimed the job: this one's writes are rejected."""

    code = "fenced"
