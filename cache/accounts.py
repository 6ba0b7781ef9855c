"""Sessions and users, as the cache keeps them."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import AwareDatetime, Field, model_validator

from cache.records import SensitiveRecord
from domain.errors import InvalidInputError

#: The shortest refresh token that `SessionData.issue` accepts.
MIN_TOKEN_CHARS = 16

_TWO_TOKENS = "refresh_token and refresh_token_sha256 are of different tokens"

_Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class SessionData(SensitiveRecord):
    """One login. Of the refresh token only the SHA-256 is kept; `accepts` checks a presented token.

    A fast hash is enough: unlike a password, a token has 128 random bits or more, so that guessing is
    hopeless. `issue` refuses a token that is too short for that.
    """

    session_id: str = Field(repr=False)
    user_id: str = Field(repr=False)
    expires_at: AwareDatetime
    created_at: AwareDatetime | None = None
    refresh_token: str | None = Field(
        default=None, min_length=1, strict=True, exclude=True, repr=False
    )
    """Only an argument: the constructor replaces it by its hash. As an attribute it is always None."""
    refresh_token_sha256: _Sha256 | None = Field(default=None, repr=False)
    client: str = ""
    """The name of the device or browser, shown in a list of sessions."""
    generation: int = Field(default=0, ge=0)
    """That of the user's sessions when this one began; signing out everywhere starts a new one."""
    key_prefix: str = ""
    """The API key that it was signed in with, whose scopes and life it shares; empty without."""

    @model_validator(mode="before")
    @classmethod
    def _hash_refresh_token(cls, data: Any) -> Any:
        token = data.get("refresh_token") if isinstance(data, Mapping) else None
        if not token or not isinstance(token, str):
            return data  # the field refuses what is no token
        fields = {name: value for name, value in data.items() if name != "refresh_token"}
        digest = _sha256(token)
        if fields.get("refresh_token_sha256") not in (None, digest):
            raise ValueError(_TWO_TOKENS)
        return {**fields, "refresh_token_sha256": digest}

    @model_validator(mode="after")
    def _hash_refresh_token_of_an_object(self) -> Self:
        # Read with `from_attributes`, the object is no mapping that could be changed before.
        if self.refresh_token is not None:
            digest = _sha256(self.refresh_token)
            if self.refresh_token_sha256 not in (None, digest):
                raise ValueError(_TWO_TOKENS)
            self.__dict__.update(refresh_token=None, refresh_token_sha256=digest)
            self.__pydantic_fields_set__.add("refresh_token_sha256")
        return self

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy with changed fields. A `refresh_token` replaces the old one; None removes it."""
        if update and "refresh_token" in update:
            update = {"refresh_token_sha256": None, **update}
        return super().model_copy(update=update, deep=deep)

    @classmethod
    def issue(
        cls,
        *,
        session_id: str,
        user_id: str,
        expires_at: datetime,
        refresh_token: str | None = None,
        created_at: datetime | None = None,
        client: str = "",
    ) -> Self:
        """Return a new session, after a check that its refresh token cannot be guessed.

        Raises:
            InvalidInputError: the refresh token is empty or shorter than 16 characters.
        """
        if refresh_token is not None:
            check_token(refresh_token)
        return cls(
            session_id=session_id,
            user_id=user_id,
            expires_at=expires_at,
            created_at=created_at,
            refresh_token=refresh_token,
            client=client,
        )

    def accepts(self, refresh_token: str | None) -> bool:
        """Return whether `refresh_token` is this session's, compared in constant time.

        It may be anything that a client has sent: what is not a string is not the token.
        """
        held = self.refresh_token_sha256 or ""
        given = _sha256(refresh_token) if isinstance(refresh_token, str) else "no token"
        return hmac.compare_digest(held, given)


class UserData(SensitiveRecord):
    """A user's profile, as every request needs it."""

    id: str = Field(repr=False)
    email: str = Field(repr=False)
    display_name: str = Field(default="", repr=False)
    role: str = "user"


def check_token(token: Any) -> None:
    """Raise InvalidInputError for a refresh token that is too short to be safe."""
    if not isinstance(token, str):
        raise InvalidInputError("refresh_token", type(token).__name__, "It must be a string.")
    if len(token) < MIN_TOKEN_CHARS:
        raise InvalidInputError(
            "refresh_token",
            f"{len(token)} characters",
            f"A token must have at least {MIN_TOKEN_CHARS} random characters.",
        )


def _sha256(token: str) -> str:
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()
