"""Each scope by each route: a key, or a session that it has started, does nothing beyond its scopes."""

from __future__ import annotations

import pytest

from domain.access import Scope
from domain.ids import new_job_id
from tests.integration.api.test_authorisation import RULES, job_for, send
from tests.support.services.http_api import HttpApi

ANY, NONE = frozenset(Scope), frozenset[Scope]()
READ, FILES, SUBMIT, CONTROL, ADMIN = (
    {one} for one in (Scope.READ, Scope.FILES, Scope.SUBMIT, Scope.CONTROL, Scope.ADMIN)
)

#: By route: the scopes each of which suffices, for a key and for a session that a key has started.
SUFFICE: dict[str, tuple[frozenset[Scope] | set[Scope], frozenset[Scope] | set[Scope]]] = {
    "GET /": (ANY, ANY),
    "GET /healthz": (ANY, ANY),
    "GET /readyz": (ANY, ANY),
    "GET /metrics": (READ, READ),
    "GET /v1/downloads": (READ, READ),
    "POST /v1/downloads": (SUBMIT, SUBMIT),
    "POST /v1/downloads/actions": (CONTROL, CONTROL),
    "GET /v1/totals": (READ, READ),
    "GET /v1/downloads/{job_id}": (READ, READ),
    "GET /v1/events": (READ, READ),
    "GET /v1/downloads/{job_id}/events": (READ, READ),
    "GET /v1/downloads/{job_id}/history": (READ, READ),
    "PATCH /v1/downloads/{job_id}": (CONTROL, CONTROL),
    "DELETE /v1/downloads/{job_id}": (CONTROL, CONTROL),
    "POST /v1/downloads/{job_id}/pause": (CONTROL, CONTROL),
    "POST /v1/downloads/{job_id}/resume": (CONTROL, CONTROL),
    "POST /v1/downloads/{job_id}/cancel": (CONTROL, CONTROL),
    "POST /v1/downloads/{job_id}/retry": (CONTROL, CONTROL),
    "GET /v1/downloads/{job_id}/file": (FILES, FILES),
    "HEAD /v1/downloads/{job_id}/file": (FILES, FILES),
    "GET /v1/limits": (READ, READ),
    "PATCH /v1/limits": (CONTROL, CONTROL),
    "GET /v1/webhook": (READ, READ),
    "PUT /v1/webhook": (CONTROL, CONTROL),
    "DELETE /v1/webhook": (CONTROL, CONTROL),
    "GET /v1/webhook/secret": (CONTROL, CONTROL),
    "POST /v1/webhook/secret": (CONTROL, CONTROL),
    "GET /v1/deliveries": (READ, READ),
    "GET /v1/deliveries/{delivery_id}": (READ, READ),
    "POST /v1/deliveries/{delivery_id}/send": (CONTROL, CONTROL),
    "GET /v1/health": (READ, READ),
    "GET /v1/users": (ADMIN, ADMIN),
    "POST /v1/users": (ADMIN, ADMIN),
    "PATCH /v1/users/{name}": (ADMIN, ADMIN),
    "POST /v1/users/{name}/link": (NONE, NONE),  # it gives all scopes, so all are needed
    "GET /v1/keys": (ADMIN, ADMIN),
    "POST /v1/keys": (ADMIN, ADMIN),
    "DELETE /v1/keys/{prefix}": (ANY, ANY),  # without `admin` the key is unknown
    "POST /v1/session": (ANY, ANY),
    "GET /v1/session": (ANY, ANY),
    "POST /v1/session/refresh": (NONE, ANY),
    "DELETE /v1/session": (NONE, ANY),
    "POST /v1/session/everywhere": (NONE, {Scope.CONTROL, Scope.ADMIN}),
}


def test_every_route_has_its_scopes() -> None:
    assert set(SUFFICE) == set(RULES)


def _session(api: HttpApi, key: str) -> str:
    answer = api.client().post("/v1/session", json={"key": key, "bearer": True})
    return str(answer.json()["token"])


@pytest.mark.parametrize("by_session", [False, True], ids=["key", "session"])
@pytest.mark.parametrize("scope", Scope)
def test_one_scope_allows_its_routes_and_no_others(
    api: HttpApi, scope: Scope, by_session: bool
) -> None:
    """Of an admin, so that the role refuses nothing."""
    key = api.new_key("root", [scope.value])
    wrong = {}
    for route, suffice in SUFFICE.items():
        secret = _session(api, key) if by_session else key
        with api.new_client(headers={"Authorization": f"Bearer {secret}"}) as client:
            status = send(api, client, route, job_for(api, route).id).status_code
        if (status == 403) is (scope in suffice[by_session]):
            wrong[route] = status
    assert wrong == {}


def test_limits_of_all_downloads_need_two_scopes(api: HttpApi) -> None:
    for body in ({"total": 5000}, {"hosts": {"example.org": 5000}}, {"concurrent_downloads": 2}):
        for scopes, status in ((["control"], 403), (["admin"], 403), (["control", "admin"], 200)):
            headers = {"Authorization": f"Bearer {api.new_key('root', scopes)}"}
            answer = api.client().patch("/v1/limits", json=body, headers=headers)
            assert answer.status_code == status


def test_a_key_that_reads_ends_no_session_of_its_user(api: HttpApi) -> None:
    other = {"Authorization": f"Bearer {_session(api, api.keys['ada'])}"}
    reading = {"Authorization": f"Bearer {_session(api, api.new_key('ada', ['read']))}"}
    assert api.client().post("/v1/session/everywhere", headers=reading).status_code == 403
    for headers in (other, reading):
        assert api.client().get("/v1/session", headers=headers).status_code == 200
    assert api.client().delete("/v1/session", headers=reading).status_code == 204  # its own
    assert api.client().get("/v1/session", headers=other).status_code == 200


def test_a_refused_request_writes_nothing(api: HttpApi) -> None:
    headers = {"Authorization": f"Bearer {api.new_key('ada', ['read'])}"}
    with api.new_client(headers=headers) as client:
        for route, (suffice, _) in SUFFICE.items():
            if Scope.READ not in suffice:
                job_id = api.job_of("ada", new_job_id()).id
                before = api.written()
                assert send(api, client, route, job_id).status_code == 403, route
                assert api.written() == before, route


#: What a request gives, and the scopes with which a key may give it.
GIVEN: dict[str, tuple[str, str, dict[str, str] | None, frozenset[Scope] | set[Scope]]] = {
    "a link for a viewer": ("POST", "/v1/users/vic/link", None, ANY),
    "a link for a user": ("POST", "/v1/users/eve/link", None, ANY),
    "a link for an admin": ("POST", "/v1/users/root/link", None, ANY),
    "the role of a user": ("PATCH", "/v1/users/eve", {"role": "user"}, ADMIN),
    "the role of a viewer": ("PATCH", "/v1/users/vic", {"role": "viewer"}, ADMIN | READ | FILES),
    "the role of an admin": ("PATCH", "/v1/users/root", {"role": "admin"}, ANY),
    "a new user": ("POST", "/v1/users", {"role": "user"}, ADMIN),
    "a new viewer": ("POST", "/v1/users", {"role": "viewer"}, ADMIN | READ | FILES),
    "a new admin": ("POST", "/v1/users", {"role": "admin"}, ANY),
}


@pytest.mark.parametrize("scopes", [ADMIN, ADMIN | READ | FILES, ANY - FILES, ANY], ids=len)
@pytest.mark.parametrize("what", GIVEN)
def test_a_key_gives_no_more_than_it_has(
    api: HttpApi, what: str, scopes: frozenset[Scope] | set[Scope]
) -> None:
    method, path, body, needed = GIVEN[what]
    if path == "/v1/users" and body is not None:
        body = {**body, "name": f"u{new_job_id()[-12:]}"}
    key = api.new_key("root", sorted(scopes))
    with api.new_client(headers={"Authorization": f"Bearer {key}"}) as client:
        answer = client.request(method, path, json=body)
    assert (answer.status_code in {200, 201}) == (needed <= scopes), answer.text
    assert answer.status_code in {200, 201, 403}
