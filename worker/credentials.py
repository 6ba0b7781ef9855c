"""Encrypts headers, logins and cookies of jobs for the database, as Fernet tokens.

A token holds its job's id. So a token copied to another row is refused, and one job's credentials are
never sent to another job's origin.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

from domain.cookies import Cookie
from domain.errors import InvalidInputError, PermanentError
from domain.job import Job
from domain.request import DownloadRequest
from domain.request_fields import HIDDEN

if TYPE_CHECKING:  # most jobs have no credentials, and this import takes longer than a submit
    from cryptography.fernet import MultiFernet

#: Separates these keys from others that are derived from the same text.
_PURPOSE = b"seen request secrets 1"
_SENT_TO_ORIGIN = ("headers", "username", "password", "cookies")


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestCredentials:
    """What is sent with a job's requests to its own origin. Not shown by `repr`."""

    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    cookies: str | None = field(default=None, repr=False)
    cookie_jar: tuple[Cookie, ...] = field(default=(), repr=False)
    """Sent to the hosts that they are for, unlike all others."""

    @classmethod
    def of(cls, request: DownloadRequest) -> Self:
        """Return the credentials of a request."""
        return cls(
            headers=request.headers,
            username=request.username,
            password=request.password,
            cookies=request.cookies,
            cookie_jar=request.cookie_jar,
        )

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the headers and of the other fields that are set; they are not secret."""
        given = {
            "username": self.username is not None,
            "password": self.password is not None,
            "cookies": self.cookies is not None or bool(self.cookie_jar),
        }
        return (*self.headers, *(name for name, is_given in given.items() if is_given))


class CredentialCipher:
    """Encrypts and decrypts the credentials of jobs.

    Args:
        keys: the first one encrypts, all of them decrypt. Each is a Fernet key, or random text from
            which one is derived.
    """

    def __init__(self, keys: tuple[str, ...]) -> None:
        self._keys = keys

    def encrypt(self, job_id: str, secrets: RequestCredentials) -> str | None:
        """Return the text for the job's row: names, a space, a token; None without credentials.

        A cookie jar has a token of its own before that, where the previous version does not look.

        Raises:
            InvalidInputError: there is no key. Its field is the first of the credentials.
        """
        if not secrets.names:
            return None
        if not self._keys:
            what = "headers" if secrets.headers else secrets.names[0]
            raise InvalidInputError(
                what,
                HIDDEN,
                "It is stored encrypted, and there is no key: set SEEN_SECRET_KEY to the same value for "
                "workers and clients.",
            )
        content = {name: getattr(secrets, name) for name in _SENT_TO_ORIGIN}
        tokens = [self._token(job_id, content)]
        if secrets.cookie_jar:
            jar = [asdict(cookie) for cookie in secrets.cookie_jar]
            tokens.insert(0, self._token(job_id, {"cookie_jar": jar}))
        return " ".join([",".join(secrets.names), *tokens])

    def decrypt(self, job: Job) -> RequestCredentials:
        """Return the credentials of a job; empty ones when its row has none.

        Raises:
            PermanentError: they cannot be decrypted; the code is ``unreadable_secrets``.
        """
        if job.secrets is None:
            return RequestCredentials()
        contents = [self._content(token) for token in job.secrets.split(" ")[1:]]
        if not contents or any(one is None or one.pop("job", None) != job.id for one in contents):
            raise PermanentError(
                f"The headers or login given with this job ({', '.join(job.secret_names)}) cannot be "
                "decrypted: SEEN_SECRET_KEY does not contain the key that encrypted them. Add that key "
                "and retry the job, or submit it again.",
                code="unreadable_secrets",
            )
        values = {name: value for content in contents for name, value in (content or {}).items()}
        jar = tuple(Cookie(**cookie) for cookie in values.pop("cookie_jar", ()))
        return RequestCredentials(**values, cookie_jar=jar)

    def fingerprint(self, secrets: RequestCredentials) -> str | None:
        """Return a keyed digest, equal for equal credentials; None without credentials or key.

        The jar makes no difference: the cookies in it expire one by one, and the same command continues.
        """
        if not secrets.names or not self._keys:
            return None
        headers = sorted((name.lower(), value) for name, value in secrets.headers.items())
        same = json.dumps([headers, secrets.username, secrets.password, secrets.cookies])
        return hmac.digest(self._keys[0].encode(), _PURPOSE + same.encode(), hashlib.sha256).hex()

    def seal(self, name: str, content: Mapping[str, object]) -> str:
        """Return a token that only `unseal` with this name opens.

        Raises:
            InvalidInputError: there is no key.
        """
        if not self._keys:
            raise InvalidInputError(name, HIDDEN, "It is stored encrypted: set SEEN_SECRET_KEY.")
        return self._fernet.encrypt(json.dumps({"name": name, **content}).encode()).decode()

    def unseal(self, name: str, token: str) -> dict[str, Any] | None:
        """Return what `seal` was given; None if no key opens the token, or it has another name."""
        content = self._content(token)
        is_own = content is not None and content.pop("name", None) == name
        return content if is_own else None

    def _token(self, job_id: str, content: Mapping[str, object]) -> str:
        return self._fernet.encrypt(json.dumps({"job": job_id, **content}).encode()).decode()

    def _content(self, token: str) -> dict[str, Any] | None:
        if not self._keys:
            return None
        from cryptography.fernet import InvalidToken

        try:
            content: dict[str, Any] = json.loads(self._fernet.decrypt(token.encode()))
        except InvalidToken:
            return None
        return content

    @cached_property
    def _fernet(self) -> MultiFernet:
        from cryptography.fernet import Fernet, MultiFernet

        return MultiFernet([Fernet(_fernet_key(key)) for key in self._keys])


def _fernet_key(text: str) -> bytes:
    """Return a Fernet key as it is, and a key derived from any other text.

    HKDF does not strengthen a weak text: the text must be random.
    """
    try:
        if len(text) == 44 and len(base64.b64decode(text, altchars=b"-_", validate=True)) == 32:
            return text.encode()
    except (binascii.Error, ValueError):
        pass
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=_PURPOSE).derive(text.encode())
    return base64.urlsafe_b64encode(derived)
