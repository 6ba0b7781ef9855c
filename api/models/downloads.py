"""Bodies and answers of the routes of downloads."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field, WithJsonSchema
from typing_extensions import TypedDict

from api.models.fields import EXAMPLE_ID, ID_PATTERN, TEXT_PATTERN, Body
from domain.job import Action, Priority
from domain.limits import MAX_RATE, MIN_RATE
from domain.request import DownloadRequest
from tasks.api.job_json import EventDict, JobDict

MAX_DOWNLOADS = 1_000

_URL = {
    "type": "string",
    "maxLength": 8000,
    "pattern": "^(https?|ftps?)://[A-Za-z0-9]",
    "examples": ["https://example.org/film.mkv"],
}
_TEXT = "^[ -~]*$"


def _request_schema() -> dict[str, Any]:
    """Return the schema of a request: the names and limits of `domain.request.DownloadRequest`."""
    schema = DownloadRequest.model_json_schema()
    definitions = schema.pop("$defs")
    properties = schema["properties"]
    properties["url"] = _URL
    properties["mirrors"] = {"type": "array", "items": _URL, "maxItems": 20, "default": []}
    properties["webhook"]["anyOf"][0] = {**_URL, "pattern": "^https?://[A-Za-z0-9]"}
    properties["priority"] = {"enum": [one.value for one in Priority], "default": "normal"}
    cookie = definitions["Cookie"]
    properties["cookie_jar"] = {"type": "array", "items": cookie, "default": []}
    for name, (low, high) in {
        "max_attempts": (1, 1000),
        "max_bytes": (1, 2**63 - 1),
        "max_rate": (MIN_RATE, MAX_RATE),
        "connections": (1, 32),
    }.items():
        properties[name]["anyOf"][0] |= {"minimum": low, "maximum": high}
    for one in properties.values():
        one.pop("title", None)
    schema.pop("title")
    schema["description"] = (
        "A download. `directory` lies in the download folder; `user_id` is for admins; the values of "
        "`headers`, `username`, `password`, `cookies` and `cookie_jar` are never shown."
    )
    schema["example"] = {
        "url": "https://example.org/film.mkv",
        "directory": "films",
        "checksum": "sha256:" + "0" * 64,
        "priority": "low",
    }
    return schema


REQUEST_SCHEMA = _request_schema()
#: A request as a caller sends it; `domain.request` has all checks of it.
RawRequest = Annotated[dict[str, Any], WithJsonSchema(REQUEST_SCHEMA)]


class ManyDownloads(Body):
    """Several downloads at once."""

    downloads: Annotated[list[RawRequest], Field(min_length=1, max_length=MAX_DOWNLOADS)]
    mode: Annotated[
        Literal["all_or_none", "each"],
        Field(description="`all_or_none`: one that is refused refuses all. `each`: it does not."),
    ] = "all_or_none"


class SubmitResult(TypedDict):
    """What became of one of several downloads: a download, or the problem that refused it."""

    download: NotRequired[JobDict]
    is_new: NotRequired[bool]
    """False for a job that existed: unfinished and for the same request, or of the same key."""
    problem: NotRequired[dict[str, Any]]


class SubmitResults(TypedDict):
    """What became of several downloads, in their order."""

    results: list[SubmitResult]
    accepted: int
    refused: int


class DownloadPage(TypedDict):
    """One page of a list."""

    downloads: list[JobDict]
    next_cursor: str | None
    """For the next page; null on the last one. A page of a search may be empty and not the last."""


class History(TypedDict):
    """The events of a download, the oldest first."""

    events: list[EventDict]


class PriorityChange(Body):
    """Another priority."""

    priority: Annotated[Literal["high", "normal", "low"], Field(examples=["high"])]


_Id = Annotated[str, Field(pattern=ID_PATTERN, examples=[EXAMPLE_ID])]
ActionName = Literal["pause", "resume", "cancel", "retry", "move", "delete"]
#: Those of `tasks.api.control`.
CONTROLS = {one.value: one for one in Action}


class Selection(Body):
    """Jobs by what they have; at least one of the fields."""

    state: Annotated[
        Literal[
            "queued",
            "downloading",
            "verifying",
            "waiting",
            "paused",
            "completed",
            "failed",
            "cancelled",
        ]
        | None,
        Field(description="Only jobs in this state."),
    ] = None
    user_id: Annotated[
        str | None,
        Field(min_length=1, max_length=200, pattern=TEXT_PATTERN, description="Only this owner's."),
    ] = None
    host: Annotated[
        str | None, Field(min_length=1, max_length=300, description="Only from this host.")
    ] = None


class ManyActions(Body):
    """One action on many downloads: those with these ids, or all that a filter selects."""

    action: ActionName
    ids: Annotated[list[_Id] | None, Field(min_length=1, max_length=MAX_DOWNLOADS)] = None
    filter: Selection | None = None
    priority: Annotated[
        Literal["high", "normal", "low"] | None, Field(description="For `move`.")
    ] = None
    with_files: Annotated[
        bool, Field(description="For `delete` by ids: remove the published files, too.")
    ] = False


class RefusedDownload(TypedDict):
    """A download that an action did not change."""

    id: str
    code: str
    detail: str


class ActionResult(TypedDict):
    """What an action has changed. A filter selects only jobs that can be changed so."""

    changed: int
    unchanged: int
    """They were in the requested state already."""
    refused: list[RefusedDownload]
    """The first thousand."""


class JobNumbers(TypedDict):
    """The numbers of jobs, and what is downloaded now."""

    jobs: dict[str, int]
    """By state."""
    at_least: list[str]
    """The states of which there are more jobs than `jobs` says."""
    active: int | None
    bytes_per_second: float | None
    """Null if the store does not answer."""
