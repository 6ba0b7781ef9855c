"""One tree of errors. Each message says what happened, with which value, and what to do.

Foreign errors (pycurl, redis-py, SQLAlchemy, OS) are translated into this tree once, at the edge
that calls the library, so that everything above decides on these classes alone.
"""

from __future__ import annotations


class SeenError(Exception):
    """The base of every error this project raises on purpose."""

    #: A short, stable word for programs: it is stored with the job and printed in JSON.
    code = "error"


# ── what a caller did ────────────────────────────────────────────────────────────────────────────


class InvalidInputError(SeenError):
    """A value from outside does not fit. Nothing has been written; exit status 2 on the command line.

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
        if len(shown) > 120:
            shown = f"{shown[:117]}…"
        self._shown = shown
        super().__init__(f"{field}: {shown} is not valid. {remedy}")

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
    """The environment does not describe a service that could run. The message names the variables."""

    code = "invalid_settings"


class UnknownJobError(SeenError):
    """There is no job with this id."""

    code = "unknown_job"

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id
        super().__init__(f"There is no job {job_id!r}. `seen list` shows the jobs there are.")


class IllegalTransitionError(SeenError):
    """The job is in a state from which the wanted change makes no sense.

    Args:
        wanted: what was to be done with it: "paused", "moved", ….
    """

    code = "illegal_transition"

    def __init__(self, job_id: str, status: str, wanted: str) -> None:
        self.job_id, self.status, self.wanted = job_id, status, wanted
        super().__init__(f"Job {job_id} is {status}: it cannot be {wanted}.")


class DuplicateJobError(SeenError):
    """Another job that asks for the very same is alive, so this one cannot be."""

    code = "duplicate_job"

    def __init__(self, job_id: str, existing_id: str) -> None:
        self.job_id, self.existing_id = job_id, existing_id
        super().__init__(
            f"Job {job_id} asks for the same as job {existing_id}, which has not ended. Follow that one."
        )


class IdempotencyKeyReusedError(SeenError):
    """An idempotency key came a second time, with a request for something else. Nothing was written."""

    code = "idempotency_key_reused"

    def __init__(self, job_id: str | None) -> None:
        self.job_id = job_id
        owner = f"job {job_id}" if job_id else "another request of the same call"
        super().__init__(
            f"idempotency_key: it belongs to {owner}, which asks for something else. "
            "Use a new key for a new request."
        )


# ── services that do not answer ──────────────────────────────────────────────────────────────────


class StoreError(SeenError):
    """The store did not do what it was asked: loops that try again wait for all of these alike."""

    code = "store"


class StoreUnavailableError(StoreError):
    """Dragonfly (or Redis) did not answer. Reads treat it as a miss; locks are never granted on it."""

    code = "store_unavailable"


class StoreRefusesError(StoreUnavailableError):
    """The store answers, and refuses to serve: it is full, a replica, does not know us.

    Args:
        words: what the server said.
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
    """Another holder has the lock, or the caller itself, who cannot enter it twice."""

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
    """The same request may well succeed later: the job waits and is tried again.

    Args:
        message: for people.
        code: the stable word, for example ``http_503`` or ``timeout``.
        retry_after: seconds the origin asked us to stay away, if it did.

    Attributes:
        host: the one that asked, where a redirect led to another than the job names.
    """

    code = "transient"

    def __init__(self, message: str, *, code: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.retry_after = retry_after
        self.host: str | None = None


class DiskFullError(TransientError):
    """The file system has no room for the rest of the file.

    Args:
        message: for people.
        uses_attempt: this very file took the room, and nothing tells how much more it needs: waiting
            for it without end would let it fill the disk again and again.
    """

    #: Room does not come back within a second or two.
    _PAUSE = 30.0

    def __init__(self, message: str, *, uses_attempt: bool = False) -> None:
        super().__init__(message, code="disk_full", retry_after=self._PAUSE)
        self.uses_attempt = uses_attempt


class DiskUnavailableError(TransientError):
    """The worker's disk or folder cannot be used for now: read-only, unreachable, or broken.

    It says nothing of the job, so it is no attempt; the bytes that are there are kept.
    """

    _PAUSE = 10.0

    def __init__(self, message: str) -> None:
        super().__init__(message, code="disk_unavailable", retry_after=self._PAUSE)


class WorkerResourcesError(TransientError):
    """The worker's process has too few descriptors, too little memory, or too few threads.

    It says nothing of the job, so it is no attempt.
    """

    _PAUSE = 5.0

    def __init__(self, message: str) -> None:
        super().__init__(message, code="worker_resources", retry_after=self._PAUSE)


class HostBusyError(TransientError):
    """The job may not connect yet: a limit is reached, or its host is to be left alone for a while.

    It is nobody's failure, so it is no attempt. `code` is ``host_busy`` or ``host_cooling``.
    """

    def __init__(self, message: str, *, retry_after: float, code: str = "host_busy") -> None:
        super().__init__(message, code=code, retry_after=retry_after)


class PermanentError(SeenError):
    """Trying the same again cannot help: the job fails at once."""

    code = "permanent"

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.code = code


class ChecksumMismatchError(PermanentError):
    """The bytes are all there and are not the bytes that were asked for."""

    def __init__(self, algorithm: str, expected: str, actual: str) -> None:
        self.actual = actual
        super().__init__(
            f"{algorithm} is {actual}, expected {expected}. The file was not published.",
            code="checksum_mismatch",
        )


class StoppedError(SeenError):
    """Somebody asked this transfer to stop; it is not the origin's fault."""

    code = "stopped"


class CancelledError(StoppedError):
    """The job was cancelled."""

    code = "cancelled"


class PausedError(StoppedError):
    """The job was paused."""

    code = "paused"


class DrainingError(StoppedError):
    """The worker is shutting down and hands its jobs back."""

    code = "draining"


class LeaseLostError(StoppedError):
    """The download lock could not be renewed in time: the worker must not write any more."""

    code = "lease_lost"


class FencedError(SeenError):
    """A newer owner has taken the job over: nothing this one says counts any more."""

    code = "fenced"
