"""The body that changes limits."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from api.models.fields import Body
from domain.limits import MAX_DOWNLOADS, MAX_RATE, MIN_RATE

_Rate = Annotated[int, Field(ge=MIN_RATE, le=MAX_RATE)] | None


class LimitChanges(Body):
    """Limits, of rates in bytes a second; null removes one. What is not named stays as it is."""

    total: Annotated[_Rate, Field(description="All downloads together. Only an admin.")] = None
    concurrent_downloads: Annotated[
        Annotated[int, Field(ge=1, le=MAX_DOWNLOADS)] | None,
        Field(description="Downloads at once in all workers. Only an admin."),
    ] = None
    hosts: Annotated[
        dict[str, _Rate],
        Field(max_length=1000, description="All downloads from a host together. Only an admin."),
    ] = Field(default_factory=dict)
    jobs: Annotated[dict[str, _Rate], Field(max_length=1000, description="By job id.")] = Field(
        default_factory=dict
    )
