"""Bodies and answers of the session's routes."""

from __future__ import annotations

from typing import Annotated, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from api.models.fields import Body


class SignIn(Body):
    """What signs in: the token of a sign-in link, or an API key; one of them."""

    link_token: Annotated[
        str | None, Field(max_length=500, examples=["seen_link_…"], description="Used up by this.")
    ] = None
    key: Annotated[str | None, Field(max_length=500, examples=["seen_ab12cd34_…"])] = None
    bearer: Annotated[bool, Field(description="Return the session's token, and set no cookie.")] = (
        False
    )


class WhoAmI(TypedDict):
    """Who has signed in."""

    user_id: str | None
    role: str
    scopes: list[str]
    kind: str
    """key or session."""
    expires_at: NotRequired[str]
    """Of a session that was just made or refreshed."""
    token: NotRequired[str]
    """Of such a session, where it was asked for as bearer."""
