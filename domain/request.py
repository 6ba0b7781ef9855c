"""A request for a download, and all checks of it that need neither store nor disk."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Self

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
from domain.cookies import Cookie
from domain.errors import InvalidInputError
from domain.files import (
    MAX_DIRECTORY_BYTES,
    MAX_FOLDER_BYTES,
    MAX_NAME_BYTES,
    MAX_SIZE,
    WORKING_PREFIX,
    Checksum,
)
from domain.job import Priority
from domain.limits import check_rate
from domain.request_fields import HIDDEN, MAX_MIRRORS
from domain.text import requirement, sentence
from domain.urls import check_url, display_url

MAX_ATTEMPTS_LIMIT = 1000
MAX_CONNECTIONS = 32
_URL_FIELDS = ("url", "mirrors")
#: Fields that are stored encrypted, and shown nowhere.
SECRET_FIELDS = ("headers", "username", "password", "cookies", "cookie_jar")


class DownloadRequest(BaseModel):
    """A request for a download. The constructor checks everything that needs neither store nor disk.

    `repr` and `model_dump` leave out headers, login and cookies; `repr` masks secrets in URLs.

    Attributes:
        url: http, https, ftp or ftps, without credentials in it.
        mirrors: further URLs of the same file, at most 20. Headers, login and cookies are sent only to
            those with the origin of `url`.
        secret_url: `url` and `mirrors` are secrets: no output, message or log shows more of them than
            scheme and host.
        directory: where the file goes, relative to the download folder ("" is the folder itself).
        name: the file name to use; without it, the origin's or the URL's.
        checksum: ``sha256:<hex>`` (also md5, sha1, sha512, blake2b, crc32c), checked before the file is
            published.
        user_id: the owner, for listing and for invalidation.
        overwrite: replace a file of that name; otherwise a clashing name gets a number.
        max_attempts: attempts before the job fails; None takes the service's setting.
        max_bytes: a larger file fails; None for no limit but the service's.
        max_rate: bytes a second of this download, 1024 at least; None for no limit but those of its
            host and of all downloads.
        connections: 1 to 32 at once; None takes the service's setting.
        decode: undo a Content-Encoding that the origin sends although none was requested.
        ignore_origin_digests: do not compare the file with the origin's digests, because they are wrong.
            `checksum` is still compared.
        priority: high, normal or low: the queue it waits in.
        webhook: http or https, without credentials: it is called when the job ends. Its path may be a
            secret, so no output shows more of it than scheme and host.
        idempotency_key: any text, at most 200 characters. A second request of the same user with the
            same key gets the first one's job, in any state.
        headers: further request headers, at most 50.
        username, password: for Basic or Digest authentication, or the login of an FTP server.
        cookies: the value of a Cookie header.
        cookie_jar: cookies for other hosts to which redirects or mirrors lead; each goes only to the
            hosts, paths and schemes that it is for.

    Raises:
        InvalidInputError: names the field and says what would be valid.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", str_max_length=10_000)

    url: str
    mirrors: tuple[str, ...] = ()
    secret_url: bool = False
    directory: str = ""
    name: str | None = None
    checksum: str | None = None
    user_id: str | None = None
    overwrite: bool = False
    max_attempts: int | None = None
    max_bytes: int | None = None
    max_rate: int | None = None
    connections: int | None = None
    decode: bool = False
    ignore_origin_digests: bool = False
    priority: Priority = Priority.NORMAL
    webhook: str | None = Field(default=None, repr=False)
    idempotency_key: str | None = Field(default=None, exclude=True)
    headers: Mapping[str, str] = Field(default_factory=dict, repr=False, exclude=True)
    username: str | None = Field(default=None, repr=False, exclude=True)
    password: str | None = Field(default=None, repr=False, exclude=True)
    cookies: str | None = Field(default=None, repr=False, exclude=True)
    cookie_jar: tuple[Cookie, ...] = Field(default=(), repr=False, exclude=True)

    def __hash__(self) -> int:
        """Leave out the headers, which have no hash; equal requests have equal hashes all the same."""
        return hash((self.url, self.directory, self.name, self.user_id))

    @model_validator(mode="wrap")
    @classmethod
    def _translate_errors(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Raise InvalidInputError also for missing and unknown fields and wrong types."""
        try:
            request = handler(data)
        except InvalidInputError as error:
            if error.field in _URL_FIELDS and _has_secret_url(data):
                raise InvalidInputError(error.field, HIDDEN, error.remedy) from None
            raise
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]
            name = ".".join(str(part) for part in problem["loc"]) or "request"
            value, first = problem["input"], name.partition(".")[0]
            if problem["type"] == "missing":
                value = None
            elif first in _URL_FIELDS:
                is_shown = isinstance(value, str) and not _has_secret_url(data)
                value = display_url(value) if is_shown else HIDDEN
            elif (
                first in {"request", "webhook", *SECRET_FIELDS}
                or problem["type"] == "extra_forbidden"
            ):
                # These may contain secrets: a name may be a misplaced value, an unknown field a
                # misspelt password, and a whole request has all of them.
                name, value = first, HIDDEN
            raise InvalidInputError(name, value, sentence(requirement(problem))) from None
        request_fields.check_login(request.headers, request.username, request.password)
        return request

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        """Yield what `repr` shows: URLs without their secrets."""
        for name, value in super().__repr_args__():
            if name == "url":
                yield name, display_url(value, secret=self.secret_url)
            elif name == "mirrors":
                yield name, tuple(display_url(url, secret=self.secret_url) for url in value)
            else:
                yield name, value

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
        folders = value.split("/")
        if "\0" in value or ".." in folders:
            raise InvalidInputError(
                "directory", value, "It must stay inside the download folder, so without '..'."
            )
        longest = max(len(folder.encode()) for folder in folders)
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

    @field_validator("max_rate")
    @classmethod
    def _max_rate(cls, value: int | None) -> int | None:
        try:
            return None if value is None else check_rate(value)
        except InvalidInputError as error:
            raise error.about("max_rate") from None

    @field_validator("connections")
    @classmethod
    def _connections(cls, value: int | None) -> int | None:
        if value is not None and not 1 <= value <= MAX_CONNECTIONS:
            raise InvalidInputError("connections", value, f"It is 1 to {MAX_CONNECTIONS}.")
        return value

    @field_validator("webhook")
    @classmethod
    def _webhook(cls, value: str | None) -> str | None:
        return None if value is None else request_fields.check_webhook(value)

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

    @field_validator("cookie_jar")
    @classmethod
    def _cookie_jar(cls, value: tuple[Cookie, ...]) -> tuple[Cookie, ...]:
        request_fields.check_cookie_jar(value)
        return value


def _has_secret_url(data: Any) -> bool:
    """Return whether the fields of a request mark its URL as secret."""
    return not isinstance(data, Mapping) or bool(data.get("secret_url"))
