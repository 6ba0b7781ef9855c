"""Who may do what over HTTP: every route, every role, an own, a foreign and an unknown job.

The table names each route of the application: a new one without a line fails the first test.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import httpx
import pytest
from fastapi.routing import APIRoute
from starlette.routing import Route

from domain.access import Principal
from domain.ids import new_job_id
from domain.job import Job, JobStatus
from tasks.api import webhooks
from tests.support.services.http_api import USERS, HttpApi

URL = {"url": "https://example.org/matrix.bin"}
ROLES = ("", "root", "ada", "eve", "vic")


class Rule(NamedTuple):
    """The verdict for a route: its status for each caller.

    Attributes:
        admin, owner, other, viewer: for an admin, the job's owner, another user, a viewer.
        public: for a caller without sign-in.
        body: of the request.
    """

    admin: int
    owner: int
    other: int
    viewer: int
    public: int = 401
    body: Any = None


#: By method and path. Where a path has a job, it is Ada's; "other" is Eve.
RULES = {
    "GET /healthz": Rule(200, 200, 200, 200, public=200),
    "GET /readyz": Rule(503, 503, 503, 503, public=503),  # this system has no workers
    "GET /": Rule(200, 200, 200, 200, public=200),  # the page, which has no data in it
    "GET /metrics": Rule(200, 403, 403, 200),
    "GET /v1/downloads": Rule(200, 200, 200, 200),
    "POST /v1/downloads": Rule(201, 201, 201, 403, body=URL),
    "POST /v1/downloads/actions": Rule(
        200, 200, 404, 403, body={"action": "cancel", "ids": ["<id>"]}
    ),
    "GET /v1/totals": Rule(200, 200, 200, 200),
    "GET /v1/downloads/{job_id}": Rule(200, 200, 404, 200),
    "GET /v1/events": Rule(200, 200, 200, 200),
    "GET /v1/downloads/{job_id}/events": Rule(200, 200, 404, 200),
    "GET /v1/downloads/{job_id}/history": Rule(200, 200, 404, 200),
    "PATCH /v1/downloads/{job_id}": Rule(200, 200, 404, 403, body={"priority": "low"}),
    "DELETE /v1/downloads/{job_id}": Rule(409, 409, 404, 403),  # it is not finished
    "POST /v1/downloads/{job_id}/pause": Rule(200, 200, 404, 403),
    "POST /v1/downloads/{job_id}/resume": Rule(200, 200, 404, 403),
    "POST /v1/downloads/{job_id}/cancel": Rule(200, 200, 404, 403),
    "POST /v1/downloads/{job_id}/retry": Rule(200, 200, 404, 403),
    "GET /v1/downloads/{job_id}/file": Rule(409, 409, 404, 409),  # it is not completed
    "HEAD /v1/downloads/{job_id}/file": Rule(409, 409, 404, 409),
    "GET /v1/limits": Rule(200, 200, 200, 200),
    "PATCH /v1/limits": Rule(200, 200, 404, 403, body={"jobs": {"<id>": 5000}}),
    "GET /v1/webhook": Rule(200, 200, 200, 200),
    "PUT /v1/webhook": Rule(200, 200, 200, 403, body={"url": "https://example.org/hook"}),
    "DELETE /v1/webhook": Rule(204, 204, 204, 403),
    "GET /v1/webhook/secret": Rule(200, 200, 200, 403),
    "POST /v1/webhook/secret": Rule(200, 200, 200, 403),
    "GET /v1/deliveries": Rule(200, 200, 200, 200),
    "GET /v1/deliveries/{delivery_id}": Rule(200, 200, 404, 200),
    "POST /v1/deliveries/{delivery_id}/send": Rule(200, 200, 404, 403),
    "GET /v1/health": Rule(200, 200, 200, 200),
    "GET /v1/users": Rule(200, 403, 403, 403),
    "POST /v1/users": Rule(201, 403, 403, 403, body={"name": "<new>"}),
    "PATCH /v1/users/{name}": Rule(200, 403, 403, 403, body={"role": "user"}),
    "POST /v1/users/{name}/link": Rule(201, 403, 403, 403),
    # These callers have keys: only a session that a link has started manages keys of its own user.
    "GET /v1/keys": Rule(200, 403, 403, 403),
    "POST /v1/keys": Rule(201, 403, 403, 403, body={"user": "ada"}),
    "DELETE /v1/keys/{prefix}": Rule(204, 404, 404, 404),
    "POST /v1/session": Rule(422, 422, 422, 422, public=422, body={}),
    "GET /v1/session": Rule(200, 200, 200, 200),
    "POST /v1/session/refresh": Rule(403, 403, 403, 403),  # these callers have keys
    "DELETE /v1/session": Rule(403, 403, 403, 403),
    "POST /v1/session/everywhere": Rule(403, 403, 403, 403),
}


#: The OpenAPI document, of FastAPI itself, and the page's files: they have no data in them.
PUBLIC = {"GET /openapi.json", "HEAD /openapi.json", "GET /page/{version}/{path:path}"}


def _routes(routes: Iterable[Any]) -> Iterator[str]:
    for route in routes:
        if isinstance(route, Route | APIRoute):
            yield from (f"{method} {route.path}" for method in sorted(route.methods or ()))
        else:
            yield from _routes(route.original_router.routes)  # FastAPI includes routers so


def test_every_route_has_a_verdict(api: HttpApi) -> None:
    assert set(_routes(api.app.routes)) == {*RULES, *PUBLIC}


def _send(api: HttpApi, user: str, route: str, job_id: str) -> httpx.Response:
    return send(api, api.client(user), route, job_id)


def send(api: HttpApi, client: httpx.Client, route: str, job_id: str) -> httpx.Response:
    """Make the request of a route; of a stream, only the beginning is read."""
    method, path = route.split()
    body = RULES[route].body
    raw = None if body is None else json.dumps(body).replace("<id>", job_id)
    raw = raw and raw.replace("<new>", new_job_id())
    headers = {"Content-Type": "application/json"} if raw is not None else {}
    request = client.build_request(
        method,
        path.format(
            job_id=job_id,
            delivery_id=_delivery_of(api, job_id),
            name="ada",
            prefix=api.new_key("ada").split("_")[1] if "{prefix}" in path else "",
        ),
        content=raw,
        headers=headers,
    )
    answer = client.send(request, stream=True)
    if "text/event-stream" not in answer.headers.get("content-type", ""):  # which does not end
        answer.read()
    answer.close()
    return answer


def _expected(rule: Rule, user: str) -> int:
    by_user = {"": rule.public, "root": rule.admin, "ada": rule.owner, "eve": rule.other}
    return {**by_user, "vic": rule.viewer}[user]


@pytest.mark.parametrize("route", RULES)
@pytest.mark.parametrize("user", ROLES)
def test_verdicts(api: HttpApi, user: str, route: str) -> None:
    job = job_for(api, route)
    before = api.written()
    answer = _send(api, user, route, job.id)
    assert answer.status_code == _expected(RULES[route], user)
    if answer.status_code >= 400 and "readyz" not in route:
        assert api.written() == before
        assert answer.headers["content-type"] == "application/problem+json"


def _delivery_of(api: HttpApi, job_id: str) -> int:
    """Return the id of the delivery of a job's end; 0 without one."""
    found = webhooks.list_deliveries(Principal.local(), job_id=job_id, runtime=api.system.runtime)
    return found[0].id if found else 0


def job_for(api: HttpApi, route: str) -> Job:
    """Submit a job of Ada's that a route can be tried on."""
    job = api.job_of("ada", new_job_id(), webhook="https://example.org/hook")
    if route.endswith("/retry") or "delivery_id" in route:
        runtime = api.system.runtime
        runtime.jobs.transition(job, JobStatus.CANCELLED, now=runtime.now(), reason="test")
    return job


OF_A_JOB = [route for route, rule in RULES.items() if "job_id" in route or "<id>" in str(rule.body)]


@pytest.mark.parametrize("route", OF_A_JOB)
@pytest.mark.parametrize("user", USERS)
def test_foreign_and_unknown_jobs_cannot_be_told_apart(api: HttpApi, user: str, route: str) -> None:
    """Status, headers and body are the same, but for the id itself and the time."""
    foreign, unknown = api.job_of("ada", new_job_id()).id, new_job_id()
    known = _shape(_send(api, user, route, foreign), foreign)
    if user in {"root", "ada", "vic"} and known[0] != 403:
        return  # the job is no foreign one to them
    assert known == _shape(_send(api, user, route, unknown), unknown)


def _shape(answer: httpx.Response, job_id: str) -> tuple[int, dict[str, str], str]:
    varying = {"date", "ratelimit", "content-length"}
    headers = {name: text for name, text in answer.headers.items() if name not in varying}
    is_stream = "text/event-stream" in answer.headers["content-type"]
    text = "" if is_stream else answer.text
    return answer.status_code, headers, text.replace(job_id, "<id>")


def test_lists_and_totals_have_what_the_caller_sees(api: HttpApi) -> None:
    mine = api.job_of("ada", new_job_id()).id
    for user, is_seen in (("root", True), ("ada", True), ("eve", False), ("vic", True)):
        listed = api.client(user).get("/v1/downloads", params={"limit": 500}).json()["downloads"]
        assert (mine in {one["id"] for one in listed}) is is_seen
    eve = api.client("eve")
    assert eve.get("/v1/downloads", params={"user_id": "ada"}).json()["downloads"] == []
    assert eve.get("/v1/downloads", params={"search": mine[:8]}).json()["downloads"] == []
    before = api.written()
    acted = eve.post(
        "/v1/downloads/actions", json={"action": "cancel", "filter": {"user_id": "ada"}}
    )
    assert (acted.json()["changed"], api.written()) == (0, before)


def test_a_viewer_sees_urls_without_their_secrets(api: HttpApi) -> None:
    url = "https://example.org/v?page=1&sig=hunter2"
    job = api.client("ada").post("/v1/downloads", json={"url": url, "mirrors": [url + "3"]}).json()
    assert job["url"] == url
    for path in (f"/v1/downloads/{job['id']}", "/v1/downloads?search=page"):
        assert "hunter2" not in api.client("vic").get(path).text
    assert api.client("root").get(f"/v1/downloads/{job['id']}").json()["url"] == url


#: What a request asks for, and whether a user and an admin may: docs/api.md has the same table.
ASKED: dict[str, tuple[dict[str, Any], int, int]] = {
    "an absolute folder": ({"directory": "/etc"}, 422, 422),
    "a folder above": ({"directory": "../x"}, 422, 422),
    "another owner": ({"user_id": "eve"}, 403, 201),
    "replacing a file": ({"overwrite": True}, 403, 201),
    "a loopback address": ({"url": "http://127.0.0.1:1/x"}, 403, 201),
    "this machine by name": ({"url": "http://localhost/x"}, 403, 201),
    "a private address": ({"url": "http://10.1.2.3/x"}, 403, 201),
    "a private address in another spelling": ({"url": "http://0x7f.1/y"}, 403, 201),
    "a private IPv6 address": ({"url": "http://[fd00::1]/x"}, 403, 201),
    "the address of cloud metadata": ({"url": "http://169.254.169.254/x"}, 403, 201),
    "a private mirror": ({"mirrors": ["http://192.168.0.1/x"]}, 403, 201),
    "a name without a dot": ({"url": "http://redis:6379/x"}, 403, 201),
    "a webhook of this machine": ({"webhook": "http://127.0.0.1:6379/x"}, 403, 201),
    "a webhook of this network": ({"webhook": "http://redis/x"}, 403, 201),
    "a public webhook": ({"webhook": "https://example.org/hook"}, 201, 201),
    "headers": ({"headers": {"X-Token": "a"}}, 201, 201),
    "a login": ({"username": "u", "password": "p"}, 201, 201),
    "cookies": ({"cookies": "a=b"}, 201, 201),
    "a netrc file": ({"netrc": "/root/.netrc"}, 422, 422),
    "a proxy": ({"proxy": "http://10.0.0.1"}, 422, 422),
    "a header of message framing": ({"headers": {"Host": "a"}}, 422, 422),
    "high priority": ({"priority": "high"}, 201, 201),
    "all limits": ({"max_rate": 2048, "connections": 32, "max_attempts": 1000}, 201, 201),
}


@pytest.mark.parametrize("what", ASKED)
def test_what_a_request_may_ask_for(api: HttpApi, what: str) -> None:
    fields, *verdicts = ASKED[what]
    for user, expected in zip(("ada", "root"), verdicts, strict=True):
        before = api.written()
        body = {"url": f"https://example.org/{new_job_id()}", **fields}
        answer = api.client(user).post("/v1/downloads", json=body)
        assert answer.status_code == expected, answer.text
        if expected != 201:
            assert api.written() == before


def test_a_key_has_no_more_than_its_scopes(api: HttpApi) -> None:
    secret = api.new_key("root", ["read"])
    with api.new_client(headers={"Authorization": f"Bearer {secret}"}) as reader:
        assert reader.get("/v1/downloads").status_code == 200
        assert reader.post("/v1/downloads", json=URL).status_code == 403
        job = api.job_of("ada", new_job_id())
        assert reader.get(f"/v1/downloads/{job.id}/file").status_code == 403
