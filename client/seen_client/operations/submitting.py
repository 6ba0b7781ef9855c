"""Submit downloads. Each call has an Idempotency-Key, so it can be repeated safely."""

from __future__ import annotations

import math
import re
import uuid
from collections.abc import Sequence
from typing import Literal

from seen_client.decoding import decoded, json_of
from seen_client.encoding import body_of
from seen_client.models import Download, DownloadRequest, SubmitResults
from seen_client.repeating import answer_of
from seen_client.service import Service
from seen_client.steps import Answer, Flow, Request

#: Of an answer that waits: what the service allows.
_MAX_WAIT = 60


def submit(
    service: Service,
    request: DownloadRequest | str,
    *,
    wait: float | None = None,
    idempotency_key: str | None = None,
) -> Flow[Download]:
    """Submit one download, and return it: a new one, or an unfinished one for the same request.

    Args:
        request: or its URL alone.
        wait: seconds that the answer waits for the end of the download, 60 at most. It may come sooner:
            the method `wait` waits until the end.
        idempotency_key: a key of your own: a later call with it gets the same download, for a day.
            Without it each call has a new one.

    Raises:
        InvalidRequestError: the request is not valid; `errors` names the fields.
        ForbiddenError: this caller may not ask for it.
    """
    answer = yield from _sent(service, _model(request), wait, idempotency_key)
    return decoded(Download, json_of(answer.body))


def submit_many(
    service: Service,
    requests: Sequence[DownloadRequest | str],
    *,
    mode: Literal["all_or_none", "each"] = "all_or_none",
    wait: float | None = None,
    idempotency_key: str | None = None,
) -> Flow[SubmitResults]:
    """Submit up to 1,000 downloads in one request; the results are in their order.

    Args:
        requests: or their URLs.
        mode: `all_or_none`: one that is refused refuses all. `each`: its result is a problem.
        wait: as of `submit`, for the end of all.
        idempotency_key: as of `submit`.

    Raises:
        InvalidRequestError: with `all_or_none`, requests are not valid; `errors` names each of them.
    """
    body = {"downloads": [_model(one) for one in requests], "mode": mode}
    answer = yield from _sent(service, body, wait, idempotency_key)
    return decoded(SubmitResults, json_of(answer.body))


def _model(request: DownloadRequest | str) -> DownloadRequest:
    return DownloadRequest(request) if isinstance(request, str) else request


def _sent(service: Service, body: object, wait: float | None, key: str | None) -> Flow[Answer]:
    key = str(uuid.uuid4()) if key is None else key
    if not re.fullmatch(r"[ -~]{1,200}", key):
        raise ValueError("An idempotency key has 1 to 200 printable ASCII characters.")
    headers, seconds = {"Idempotency-Key": key}, 0
    if wait is not None:
        seconds = min(_MAX_WAIT, max(0, math.ceil(wait)))
        headers["Prefer"] = f"wait={seconds}"
    request = Request(
        "POST",
        "/v1/downloads",
        body=body_of(body),
        headers=headers,
        is_repeatable=True,
        read_timeout=service.timeout + seconds,
    )
    return (yield from answer_of(service, request))
