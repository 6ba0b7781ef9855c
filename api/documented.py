"""What OpenAPI says of the answers of all routes: the problems that each can have."""

from __future__ import annotations

from typing import Any

from api.problems import MEDIA_TYPE

_PROBLEM = {"schema": {"$ref": "#/components/schemas/Problem"}}
_MEANINGS = {
    304: "The caller has this content already.",
    400: "The body is not valid JSON.",
    401: "Nothing valid was presented: an API key or a session is needed.",
    403: "The role or the key does not allow this, or a page of another site has made the request.",
    404: "There is nothing with this id, or it is another user's.",
    408: "The body was not complete in time.",
    409: "The job's state, or what is set up here, does not allow this.",
    410: "The file is gone, another one, or outside the download folder.",
    413: "The body is too large.",
    415: "The body is not sent as JSON.",
    416: "The file is shorter than the range begins.",
    421: "The header Host does not name this service.",
    422: "A parameter or a part of the body is not valid; `errors` names each.",
    429: "Too many requests, or failed sign-ins. Retry-After has the seconds to wait.",
    500: "An error in the service; its log has the details.",
    503: "The database, the store or a disk does not answer. Nothing was lost; repeat the request.",
}
#: Of every route.
_ALWAYS = (400, 408, 413, 415, 421, 422, 500, 503)
_SIGNED_IN = (401, 403, 429)


def problems(*statuses: int, public: bool = False) -> dict[int | str, dict[str, Any]]:
    """Return the problems of a route: those of every route, and these.

    Args:
        statuses: of problems that only some routes have.
        public: it needs no sign-in.
    """
    common = (*_ALWAYS, 403) if public else (*_ALWAYS, *_SIGNED_IN)
    return {
        status: {"description": _MEANINGS[status], "content": {MEDIA_TYPE: _PROBLEM}}
        for status in sorted({*common, *statuses})
    }
