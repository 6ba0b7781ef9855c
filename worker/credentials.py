"""Headers, logins and cookies of jobs, sealed for the database as Fernet tokens.

A token is bound to its job: it holds the job's id, so that nobody who can write to the database can have
one job's secrets sent to another job's origin.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

from domain.errors import InvalidInputError, PermanentError
from domain.job import Job
from domain.request import DownloadRequest
from domain.request_fields import HIDDEN

if TYPE_CHECKING:  # most jobs have no secrets, and loading this takes as long as submitting them
    from cryptography.fernet import MultiFernet

#: Tells these keys apart from any others that are made of the same text.
_PURPOSE = b"seen request secrets 1"


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestCredentials:
    """What goes along with a job's requests to its own origin. Not shown by `repr`."""

    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    cookies: str | None = field(default=None, repr=False)

    @classmethod
    def of(cls, request: DownloadRequest) -> Self:
        """Return those of a request."""
        return cls(
            headers=request.headers,
            username=request.username,
            password=request.password,
            cookies=request.cookies,
        )

    @property
    def names(self) -> tuple[str, ...]:
        """The headers' names, and those of the other fields there are: no secrets themselves."""
        others = (one.name for one in fields(self) if one.name != "headers")
        return (*self.headers, *(name for name in others if getattr(self, name) is not None))


class CredentialCipher:
    """Seals and opens the secrets of jobs.

    Args:
        keys: the first one seals, all of them open. Each is a Fernet key, or random text of which one is
            made.
    """

    def __init__(self, keys: tuple[str, ...]) -> None:
        self._keys = keys

    def encrypt(self, job_id: str, secrets: RequestCredentials) -> str | None:
        """Return what the job's row keeps: their names, a space, a token; None when there are none.

        Raises:
            InvalidInputError: there is no key. The field is the first of them.
        """
        if not secrets.names:
            return None
        if not self._keys:
            what = "headers" if secrets.headers else secrets.names[0]
            raise InvalidInputError(
                what,
                HIDDEN,
                "It is kept encrypted, and there is no key: set SEEN_SECRET_KEY, the same for workers "
                "and for whoever submits.",
            )
        content = {"job": job_id} | {
            one.name: getattr(secrets, one.name) for one in fields(secrets)
        }
        token = self._fernet.encrypt(json.dumps(content).encode()).decode()
        return f"{','.join(secrets.names)} {token}"

    def decrypt(self, job: Job) -> RequestCredentials:
        """Return the secrets of a job; none when its row keeps none.

        Raises:
            PermanentError: they cannot be read, with the code ``unreadable_secrets``.
        """
        if job.secrets is None:
            return RequestCredentials()
        content = self._content(job.secrets.rpartition(" ")[2])
        if content is None or content.pop("job", None) != job.id:
            raise PermanentError(
                f"The headers or login given with this job ({', '.join(job.secret_names)}) cannot be "
                "read: SEEN_SECRET_KEY does not hold the key they were sealed with. Set it, and retry "
                "the job, or submit it anew.",
                code="unreadable_secrets",
            )
        return RequestCredentials(**content)

    def fingerprint(self, secrets: RequestCredentials) -> str | None:
        """Return a mark that equal secrets share and that gives nothing away without the key."""
        if not secrets.names or not self._keys:
            return None
        headers = sorted((name.lower(), value) for name, value in secrets.headers.items())
        same = json.dumps([headers, secrets.username, secrets.password, secrets.cookies])
        return hmac.digest(self._keys[0].encode(), _PURPOSE + same.encode(), hashlib.sha256).hex()

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
    """Return a Fernet key as it is, and any other text made into one.

    HKDF is for keys that are random already, which this one has to be: a weak one is soon guessed.
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
