"""Ids of jobs as typed: whole ones, or their beginnings as git takes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cli.context import has_no_database, open_reader
from cli.errors import AmbiguousIdError
from domain.errors import InvalidInputError, UnknownJobError
from domain.ids import MIN_PREFIX, id_range, is_job_id
from domain.text import printable
from seen_local.late_settings import settings_module

if TYPE_CHECKING:  # loads SQLAlchemy, which is not needed to refuse wrong arguments
    from tasks.api.job_view import JobReader

#: Jobs that an error lists.
_MOST_CANDIDATES = 5


def resolve_ids(typed: Sequence[str]) -> list[str]:
    """Return the whole ids, each once, in the order in which they were typed.

    Raises:
        UnknownJobError: no id begins so. (A whole id is not looked up here.)
        AmbiguousIdError: several ids begin so.
        InvalidInputError: it is too short.
    """
    is_empty = has_no_database(settings_module.load())
    for text in typed:
        _check(text, is_empty=is_empty)
    if all(map(is_job_id, typed)):
        return list(dict.fromkeys(typed))
    reader = open_reader()
    return list(dict.fromkeys(_resolve(text, reader) for text in dict.fromkeys(typed)))


def _check(text: str, *, is_empty: bool) -> None:
    """Refuse what cannot be the beginning of an id, before anything is opened."""
    digits = text.replace("-", "")
    if 0 < len(digits) < MIN_PREFIX and id_range(digits.ljust(MIN_PREFIX, "0")) is not None:
        raise InvalidInputError("id", text, f"Give at least {MIN_PREFIX} characters of an id.")
    if is_empty or id_range(text) is None:
        raise UnknownJobError(text)


def _resolve(text: str, reader: JobReader) -> str:
    if is_job_id(text):
        return text
    found = reader.find_prefix(text, limit=_MOST_CANDIDATES + 1)
    if not found:
        raise UnknownJobError(text)
    if len(found) > 1:
        from tasks.api.job_view import JobView

        ids = reader.short_ids([job.id for job in found])
        shown = [
            f"{ids[job.id]} ({job.status.value}, {printable(JobView.merge(job, None).label)})"
            for job in found[:_MOST_CANDIDATES]
        ]
        raise AmbiguousIdError(text, shown, has_more=len(found) > _MOST_CANDIDATES)
    return found[0].id
