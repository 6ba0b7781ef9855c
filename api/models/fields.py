"""Types of the models that several routes have."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path
from pydantic import AfterValidator, BaseModel, ConfigDict

from domain.errors import UnknownJobError
from domain.ids import is_job_id

EXAMPLE_ID = "0197a2f0-3c5a-7d10-8b00-5f1c0a9e4d21"
ID_PATTERN = "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"


#: Of texts that are looked up in SQL: PostgreSQL refuses NUL.
TEXT_PATTERN = r"^[^\x00-\x1f\x7f]*$"


class Body(BaseModel):
    """The base of all bodies: unknown fields are refused, and no value is converted to another type."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def _known_form(job_id: str) -> str:
    """Return an id; what cannot be one is answered as an unknown one."""
    if not is_job_id(job_id):
        raise UnknownJobError(job_id[:64])
    return job_id


#: The id of a download in a path.
JobId = Annotated[
    str,
    Path(
        description="The id of a download.",
        examples=[EXAMPLE_ID],
        json_schema_extra={"pattern": ID_PATTERN},
    ),
    AfterValidator(_known_form),
]
