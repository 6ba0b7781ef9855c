"""A download job: what is asked for, the states it goes through, and which changes are legal."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any, NamedTuple, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from domain import request_fields
from domain.errors import InvalidInputError
from domain.limits import plain_host
from domain.request_fields import HIDDEN
from domain.urls import check_url, display_url


class JobStatus(StrEnum):
    """Where a job stands. Liveness (stalled, orphaned) is told apart, never guessed into it."""

    QUEUED = "queued"
    """Accepted; a worker will take it."""
    DOWNLOADING = "downloading"
    """One worker holds its lock and moves bytes."""
    VERIFYING = "verifying"
    """All bytes are on disk; size and checksum are being checked."""
    WAITING = "waiting"
    """A transient error; it is queued again at `next_attempt_at`."""
    PAUSED = "paused"
    """Stopped on request; the part file is kept."""
    COMPLETED = "completed"
    """The file stands under its final name."""
    FAILED = "failed"
    """A permanent error, or the attempts are used up."""
    CANCELLED = "cancelled"
    """Stopped on request; the part file is gone."""


class Priority(StrEnum):
    """Which queue a job waits in; the first is served first, and none of them waits for ever."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


_S = JobStatus

#: The whole life of a job. A change that is not in this table is never written.
TRANSITIONS: Mapping[JobStatus, frozenset[JobStatus]] = MappingProxyType(
    {
        _S.QUEUED: frozenset({_S.DOWNLOADING, _S.PAUSED, _S.CANCELLED}),
        _S.DOWNLOADING: frozenset(
            {_S.VERIFYING, _S.QUEUED, _S.WAITING, _S.PAUSED, _S.FAILED, _S.CANCELLED}
        ),
        _S.VERIFYING: frozenset(
            {_S.COMPLETED, _S.QUEUED, _S.WAITING, _S.PAUSED, _S.FAILED, _S.CANCELLED}
        ),
        _S.WAITING: frozenset({_S.QUEUED, _S.PAUSED, _S.CANCELLED}),
        _S.PAUSED: frozenset({_S.QUEUED, _S.CANCELLED}),
        _S.FAILED: frozenset({_S.QUEUED}),
        _S.CANCELLED: frozenset({_S.QUEUED}),
        _S.COMPLETED: frozenset(),
    }
)

#: A worker holds the lock in these.
RUNNING = frozenset({_S.DOWNLOADING, _S.VERIFYING})
#: Nothing happens to these any more unless a person asks for it.
FINISHED = frozenset({_S.COMPLETED, _S.FAILED, _S.CANCELLED})
#: The others: something is still to come of them.
UNFINISHED = frozenset(_S) - FINISHED


@dataclass(frozen=True, slots=True)
class Checksum:
    """An expected digest: `algorithm` as hashlib names it, `digest` in lower-case hexadecimal."""

    algorithm: str
    digest: str

    _HEX_LENGTHS = MappingProxyType(
        {"md5": 32, "sha1": 40, "sha256": 64, "sha512": 128, "blake2b": 128, "crc32c": 8}
    )

    @classmethod
    def parse(cls, text: str) -> Checksum:
        """Read ``sha256:<hex>``; raise InvalidInputError("checksum", …) for anything else."""
        algorithm, _, digest = text.strip().lower().partition(":")
        length = cls._HEX_LENGTHS.get(algorithm)
        if length is None:
            known = ", ".join(cls._HEX_LENGTHS)
            raise InvalidInputError(
                "checksum", text, f"Write it as ALGORITHM:HEX with one of {known}."
            )
        if not re.fullmatch(rf"[0-9a-f]{{{length}}}", digest):
            raise InvalidInputError(
                "checksum",
                text,
                f"{algorithm} has {length} hexadecimal digits, this {len(digest)}.",
            )
        return cls(algorithm, digest)

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.digest}"


MAX_NAME_BYTES = 200
MAX_DIRECTORY_BYTES = 1000
#: What file systems take for one folder's name.
MAX_FOLDER_BYTES = 255
MAX_ATTEMPTS_LIMIT = 1000
MAX_MIRRORS = 20
MAX_CONNECTIONS = 32
#: What fits into a signed number of 64 bits, as databases have them.
MAX_SIZE = 2**63 - 1
#: Names that begin so belong to the part files.
WORKING_PREFIX = ".seen-"


#: Fields that are kept encrypted, and shown nowhere.
SECRET_FIELDS = ("headers", "username", "password", "cookies")


class DownloadRequest(BaseModel):
    """What a caller asks for. Building one checks everything that needs neither store nor disk.

    Neither `repr` nor `model_dump` shows headers, login and cookies.

    Attributes:
        url: http, https, ftp or ftps, without credentials in it.
        mirrors: further URLs of the very same file, at most 20; what is secret goes to none of them
            that is not at the origin of `url`.
        directory: where the file goes, relative to the download folder ("" is the folder itself).
        name: the file name to use; without it, the origin's or the URL's.
        checksum: ``sha256:<hex>`` (also md5, sha1, sha512, blake2b, crc32c), checked before the file is
            published.
        user_id: whose download it is, for listing and for invalidation.
        overwrite: replace a file of that name; otherwise a clashing name gets a number.
        max_attempts: attempts before the job fails; None takes the service's setting.
        max_bytes: a larger file fails; None for no limit but the service's.
        connections: 1 to 32 at once; None takes the service's setting.
        decode: undo a Content-Encoding that the origin sends without being asked to.
        ignore_origin_digests: do not hold the file against digests that its origin names; for an origin
            whose digests are wrong. `checksum` counts all the same.
        priority: high, normal or low: the queue it waits in.
        idempotency_key: any text of the caller's own (at most 200 characters). A second request of the
            same user with the same key gets the job of the first, whatever has become of it.
        headers: further request headers, at most 50.
        username, password: for Basic or Digest authentication, or the login of an FTP server.
        cookies: the value of a Cookie header.

    Raises:
        InvalidInputError: names the field and the remedy.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", str_max_length=10_000)

    url: str
    mirrors: tuple[str, ...] = ()
    directory: str = ""
    name: str | None = None
    checksum: str | None = None
    user_id: str | None = None
    overwrite: bool = False
    max_attempts: int | None = None
    max_bytes: int | None = None
    connections: int | None = None
    decode: bool = False
    ignore_origin_digests: bool = False
    priority: Priority = Priority.NORMAL
    idempotency_key: str | None = Field(default=None, exclude=True)
    headers: Mapping[str, str] = Field(default_factory=dict, repr=False, exclude=True)
    username: str | None = Field(default=None, repr=False, exclude=True)
    password: str | None = Field(default=None, repr=False, exclude=True)
    cookies: str | None = Field(default=None, repr=False, exclude=True)

    def __hash__(self) -> int:
        """A mapping has no hash; what tells requests apart most of the time is enough."""
        return hash((self.url, self.directory, self.name, self.user_id))

    @model_validator(mode="wrap")
    @classmethod
    def _in_our_words(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Tell a missing field, an unknown one or a wrong type as every other wrong value is told."""
        try:
            request = handler(data)
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]
            name = ".".join(str(part) for part in problem["loc"]) or "request"
            value, first = problem["input"], name.partition(".")[0]
            if problem["type"] == "missing":
                value = None
            elif first in {"url", "mirrors"}:
                value = display_url(value) if isinstance(value, str) else HIDDEN
            elif first in {"request", *SECRET_FIELDS} or problem["type"] == "extra_forbidden":
                # A key may be what was meant as a value, a whole request holds everything, and an
                # unknown field may be a password misspelt.
                name, value = first, HIDDEN
            raise InvalidInputError(name, value, f"{problem['msg']}.") from None
        request_fields.check_login(request.headers, request.username, request.password)
        return request

    @field_validator("url")
    @classmethod
    def _url(cls, value: str) -> str:
        return check_url(value)

    @field_validator("mirrors")
    @classmethod
    def _mirrors(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if len(value) > MAX_MIRRORS:
            raise InvalidInputError("mirrors", f"{len(value)} URLs", f"At most {MAX_MIRRORS}.")
        try:
            checked = dict.fromkeys(map(check_url, value))
        except InvalidInputError as error:
            raise error.about("mirrors") from None
        checked.pop(info.data.get("url", ""), None)
        return tuple(checked)

    @field_validator("directory")
    @classmethod
    def _directory(cls, value: str) -> str:
        if "\0" in value or ".." in PurePosixPath(value).parts:
            raise InvalidInputError(
                "directory", value, "It must stay inside the download folder, so without '..'."
            )
        longest = max(len(part.encode()) for part in value.split("/"))
        if len(value.encode()) > MAX_DIRECTORY_BYTES or longest > MAX_FOLDER_BYTES:
            raise InvalidInputError(
                "directory",
                value,
                f"It may have {MAX_DIRECTORY_BYTES} bytes at most, each folder {MAX_FOLDER_BYTES}.",
            )
        return value

    @field_validator("name")
    @classmethod
    def _name(cls, value: str | None) -> str | None:
        if value is None:
            return None
        if not value or value in {".", ".."} or re.search(r"[/\\\x00-\x1f\x7f]", value):
            raise InvalidInputError(
                "name", value, "A file name has no slashes and no control characters."
            )
        if value.casefold().startswith(WORKING_PREFIX):  # some file systems ignore case
            raise InvalidInputError(
                "name", value, f"Names that begin with {WORKING_PREFIX!r} are the service's own."
            )
        if len(value.encode()) > MAX_NAME_BYTES:
            raise InvalidInputError("name", value, f"It may have {MAX_NAME_BYTES} bytes at most.")
        return value

    @field_validator("checksum")
    @classmethod
    def _checksum(cls, value: str | None) -> str | None:
        return None if value is None else str(Checksum.parse(value))

    @field_validator("user_id")
    @classmethod
    def _user(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[^\x00-\x1f\x7f]{1,200}", value):
            raise InvalidInputError(
                "user_id", value, "It has 1 to 200 characters, none of them a control character."
            )
        return value

    @field_validator("max_attempts")
    @classmethod
    def _attempts(cls, value: int | None) -> int | None:
        if value is not None and not 1 <= value <= MAX_ATTEMPTS_LIMIT:
            raise InvalidInputError("max_attempts", value, f"It is 1 to {MAX_ATTEMPTS_LIMIT}.")
        return value

    @field_validator("max_bytes")
    @classmethod
    def _max_bytes(cls, value: int | None) -> int | None:
        if value is not None and not 1 <= value <= MAX_SIZE:
            raise InvalidInputError("max_bytes", value, f"It is 1 to {MAX_SIZE} bytes.")
        return value

    @field_validator("connections")
    @classmethod
    def _connections(cls, value: int | None) -> int | None:
        if value is not None and not 1 <= value <= MAX_CONNECTIONS:
            raise InvalidInputError("connections", value, f"It is 1 to {MAX_CONNECTIONS}.")
        return value

    @field_validator("idempotency_key")
    @classmethod
    def _key(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[^\x00-\x1f\x7f]{1,200}", value):
            raise InvalidInputError(
                "idempotency_key",
                value,
                "It has 1 to 200 characters, none of them a control character.",
            )
        return value

    @field_validator("headers")
    @classmethod
    def _headers(cls, value: Mapping[str, str]) -> Mapping[str, str]:
        return request_fields.check_headers(value)

    @field_validator("username")
    @classmethod
    def _username(cls, value: str | None) -> str | None:
        return None if value is None else request_fields.check_username(value)

    @field_validator("password")
    @classmethod
    def _password(cls, value: str | None) -> str | None:
        return None if value is None else request_fields.check_password(value)

    @field_validator("cookies")
    @classmethod
    def _cookies(cls, value: str | None) -> str | None:
        return None if value is None else request_fields.check_cookies(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One row of the `jobs` table, as read. Times are aware UTC, sizes are bytes."""

    id: str
    url: str
    directory: str
    status: JobStatus
    max_attempts: int
    created_at: datetime
    updated_at: datetime
    user_id: str | None = None
    name: str | None = None
    checksum: str | None = None
    overwrite: bool = False
    mirrors: tuple[str, ...] = ()
    host: str | None = None
    """The host of `url`, as `domain.urls.host_of` tells it."""
    max_bytes: int | None = None
    connections: int | None = None
    decode: bool = False
    ignore_origin_digests: bool = False
    priority: Priority = Priority.NORMAL
    dedup_key: str | None = field(default=None, repr=False)
    """What jobs that ask for the very same have in common (`domain.dedup`)."""
    secrets: str | None = field(default=None, repr=False)
    """Headers, login and cookies, sealed: the names of what there is, a space, an encrypted token."""
    fence: int = 0
    """How often the job has been claimed; each claim owns its number, an older one may write nothing."""
    attempts: int = 0
    """Claims that counted against max_attempts (a drained one does not)."""
    worker: str | None = None
    control: str | None = None
    """What a person asked of a running job: "pause" or "cancel"."""
    reason: str | None = None
    """Why it waits or failed, for people; `error_code` is the same for programs."""
    error_code: str | None = None
    next_attempt_at: datetime | None = None
    published_at: datetime | None = None
    """When its message went to the broker, the last time that it waited; None where nobody noted that.

    Once it is claimed nobody notes it any more.
    """
    started_at: datetime | None = None
    finished_at: datetime | None = None
    bytes_downloaded: int = 0
    """How far it got."""
    bytes_total: int | None = None
    bytes_durable: int = 0
    """What is fsynced, so that another attempt can go on from it."""
    speed_mbps: float = 0.0
    path: str | None = None
    """The published file, once completed."""
    sha256: str | None = None
    """The digest of the published file."""

    @property
    def secret_names(self) -> tuple[str, ...]:
        """The names of the headers in `secrets`, and "username", "password" and "cookies"."""
        return tuple(self.secrets.partition(" ")[0].split(",")) if self.secrets else ()

    @property
    def is_finished(self) -> bool:
        """Whether nothing more happens to this job by itself."""
        return self.status in FINISHED


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmittedJob(Job):
    """A job as `tasks.submit` returns it."""

    is_new: bool
    """False when it was there already: alive and asking for the very same, or under the same key."""


class QueuedJob(NamedTuple):
    """What publishing a job needs to know of it; a `Job` has it, too."""

    id: str
    priority: Priority
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs are meant; what is None does not matter.

    Attributes:
        status: only in this state.
        user_id: only this user's.
        host: only from this host, in any spelling; kept in the one that rows have.
    """

    status: JobStatus | None = None
    user_id: str | None = None
    host: str | None = None

    def __post_init__(self) -> None:
        if self.host is not None:
            object.__setattr__(self, "host", plain_host(self.host))


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEvent:
    """One change of a job's state, from the audit trail."""

    job_id: str
    at: datetime
    from_status: JobStatus | None
    to_status: JobStatus
    worker: str | None
    fence: int
    attempt: int
    reason: str | None
