"""Wrong requests: each gets its own problem, and nothing is written by any."""

from __future__ import annotations

import inspect
import json
import re
from typing import Any, NamedTuple

import pytest

import api.problems as problems
from domain import errors
from domain.access import errors as account_errors
from domain.ids import new_job_id
from tests.support.services.http_api import HttpApi

DOWNLOADS, ACTIONS, LIMITS, SESSION = (
    "/v1/downloads",
    "/v1/downloads/actions",
    "/v1/limits",
    "/v1/session",
)
A = "https://example.org/a"
ID = "0197a2f0-3c5a-7d10-8b00-5f1c0a9e4d21"


class Wrong(NamedTuple):
    """One request, and its problem: status, code, the pointer of an error, words of the detail."""

    request: str
    body: Any
    status: int
    code: str
    pointer: str | None
    words: str
    headers: dict[str, str] = {}  # noqa: RUF012


def _post(body: Any, pointer: str, words: str, **more: Any) -> Wrong:
    return Wrong(f"POST {DOWNLOADS}", body, 422, "invalid_input", pointer, words, **more)


def _get(query: str, pointer: str, words: str) -> Wrong:
    return Wrong(f"GET {DOWNLOADS}?{query}", None, 422, "invalid_input", pointer, words)


WRONG = {
    "no URL": _post({}, "/url", "is required"),
    "no scheme": _post({"url": "example.org/a"}, "/url", "begin with http"),
    "an unknown scheme": _post({"url": "gopher://a/b"}, "/url", "begin with http"),
    "a password in the URL": _post({"url": "https://u:hunter2@a.org/"}, "/url", "User names"),
    "a URL that is no text": _post({"url": 5}, "/url", "must be a text"),
    "a URL of null": _post({"url": None}, "/url", "must be a text"),
    "a space in the URL": _post({"url": "https://a.org/a b"}, "/url", "percent-encoded"),
    "a URL that is too long": _post({"url": "https://a.org/" + "a" * 9000}, "/url", "8000"),
    "an unknown field": _post({"url": A, "ur1": "x"}, "/ur1", "no field of this name"),
    "a folder above": _post({"url": A, "directory": "a/../.."}, "/directory", "without '..'"),
    "an absolute folder": _post({"url": A, "directory": "/tmp"}, "/directory", "relative"),
    "a NUL in the folder": _post({"url": A, "directory": "a\x00"}, "/directory", "download folder"),
    "a name with a slash": _post({"url": A, "name": "a/b"}, "/name", "no slashes"),
    "a name of two dots": _post({"url": A, "name": ".."}, "/name", "no slashes"),
    "a name of the service": _post({"url": A, "name": ".seen-x"}, "/name", "service's own"),
    "an unknown checksum": _post({"url": A, "checksum": "sha3:00"}, "/checksum", "ALGORITHM"),
    "a short checksum": _post({"url": A, "checksum": "md5:00"}, "/checksum", "32 hex"),
    "a number as text": _post({"url": A, "max_bytes": "5"}, "/max_bytes", "whole number"),
    "true as a number": _post({"url": A, "connections": True}, "/connections", "whole number"),
    "a number that is too large": _post({"url": A, "max_bytes": 2**63}, "/max_bytes", "1 to"),
    "one as true": _post({"url": A, "decode": 1}, "/decode", "true or false"),
    "no priority of ours": _post({"url": A, "priority": "urgent"}, "/priority", "'high'"),
    "a rate that is too low": _post({"url": A, "max_rate": 5}, "/max_rate", "1024"),
    "a header of framing": _post({"url": A, "headers": {"Host": "x"}}, "/headers", "framing"),
    "a line break in a header": _post(
        {"url": A, "headers": {"X": "a\r\nb"}}, "/headers", "line br"
    ),
    "a password alone": _post({"url": A, "password": "p"}, "/password", "needs a username"),
    "no downloads": _post({"downloads": []}, "/downloads", "at least 1"),
    "too many downloads": _post({"downloads": [{}] * 1001}, "/downloads", "at most 1000"),
    "an unknown mode": _post({"downloads": [{"url": A}], "mode": "x"}, "/mode", "all_or_none"),
    "one of several": _post({"downloads": [{"url": A}, {"url": "x"}]}, "/downloads/1/url", "begin"),
    "a list": _post([A], "/", "dictionary"),
    "two keys": _post(
        {"url": A, "idempotency_key": "a"},
        "/idempotency_key",
        "is given, too",
        headers={"Idempotency-Key": "b"},
    ),
    "a key with a control character": _post(
        {"url": A}, "idempotency-key", "pattern", headers={"Idempotency-Key": "a\tb"}
    ),
    "no JSON": Wrong(f"POST {DOWNLOADS}", b"{", 400, "malformed", None, "not valid JSON"),
    "no UTF-8": Wrong(f"POST {DOWNLOADS}", b'{"url":"\xff"}', 400, "malformed", None, "body"),
    "JSON that is too deep": Wrong(
        f"POST {DOWNLOADS}", b"[" * 100_000, 400, "malformed", None, "body"
    ),
    "a form": Wrong(
        f"POST {DOWNLOADS}",
        b"url=x",
        415,
        "unsupported_media_type",
        None,
        "application/json",
        {"Content-Type": "application/x-www-form-urlencoded"},
    ),
    "an unknown state": _get("state=done", "state", "'queued'"),
    "a limit of zero": _get("limit=0", "limit", "at least 1"),
    "a limit that is too large": _get("limit=501", "limit", "at most 500"),
    "a limit that is no number": _get("limit=x", "limit", "whole number"),
    "an unknown order": _get("sort=length", "sort", "'newest'"),
    "ends of jobs that have not ended": _get("sort=ended&state=queued", "sort", "completed"),
    "ends of a search": _get("sort=ended&search=x", "sort", "newest or oldest"),
    "ends of a priority": _get("sort=ended&priority=low", "sort", "newest or oldest"),
    "speeds of jobs that do not run": _get("sort=speed&state=failed", "sort", "downloading"),
    "a second page of speeds": _get("sort=speed&cursor=x", "cursor", "one page"),
    "a forged cursor": _get("cursor=W10", "cursor", "next_cursor"),
    "a host with a path": _get("host=a.org/b", "host", "host name"),
    "a NUL in the search": _get("search=a%00", "search", "control character"),
    "a NUL in an owner": _get("user_id=a%00b", "user_id", "pattern"),
    "a NUL in the owner of a filter": Wrong(
        f"POST {ACTIONS}",
        {"action": "pause", "filter": {"user_id": "a\0b"}},
        422,
        "invalid_input",
        "/filter/user_id",
        "pattern",
    ),
    "a NUL in the download of a delivery": Wrong(
        "GET /v1/deliveries?download_id=a%00b", None, 422, "invalid_input", "download_id", "pattern"
    ),
    "no id": Wrong(f"GET {DOWNLOADS}/none", None, 404, "unknown_job", None, "no job 'none'"),
    "an id in capitals": Wrong(
        f"GET {DOWNLOADS}/{ID.upper()}", None, 404, "unknown_job", None, "no job"
    ),
    "an id that leads elsewhere": Wrong(
        f"GET {DOWNLOADS}/..%2f..%2fetc%2fpasswd", None, 404, "unknown_resource", None, "nothing at"
    ),
    "a NUL in an id": Wrong(f"GET {DOWNLOADS}/a%00b", None, 404, "unknown_job", None, "no job"),
    "an unknown path": Wrong("GET /v2/downloads", None, 404, "unknown_resource", None, "nothing"),
    "a method": Wrong(f"PUT {DOWNLOADS}", None, 405, "method_not_allowed", None, "method"),
    "an unknown action": Wrong(
        f"POST {ACTIONS}",
        {"action": "stop", "ids": [ID]},
        422,
        "invalid_input",
        "/action",
        "'pause'",
    ),
    "ids and a filter": Wrong(
        f"POST {ACTIONS}",
        {"action": "pause", "ids": [ID], "filter": {"state": "queued"}},
        422,
        "invalid_input",
        "/ids",
        "one of them",
    ),
    "a filter that selects all": Wrong(
        f"POST {ACTIONS}",
        {"action": "cancel", "filter": {}},
        422,
        "invalid_input",
        "/filter",
        "one",
    ),
    "a move without priority": Wrong(
        f"POST {ACTIONS}",
        {"action": "move", "ids": [ID]},
        422,
        "invalid_input",
        "/priority",
        "move",
    ),
    "a state that cannot be paused": Wrong(
        f"POST {ACTIONS}",
        {"action": "pause", "filter": {"state": "completed"}},
        422,
        "invalid_input",
        "status",
        "cannot be paused",
    ),
    "an unknown id among several": Wrong(
        f"POST {ACTIONS}", {"action": "pause", "ids": [ID]}, 404, "unknown_job", None, "no job"
    ),
    "a limit below the least": Wrong(
        f"PATCH {LIMITS}", {"total": 1}, 422, "invalid_input", "/total", "1024"
    ),
    "no download at once": Wrong(
        f"PATCH {LIMITS}",
        {"concurrent_downloads": 0, "total": 5000},
        422,
        "invalid_input",
        "/concurrent_downloads",
        "at least 1",
    ),
    "a limit of no host": Wrong(
        f"PATCH {LIMITS}", {"hosts": {"a/b": 5000}}, 422, "invalid_input", "/hosts", "host name"
    ),
    "a limit of an unknown job": Wrong(
        f"PATCH {LIMITS}", {"jobs": {"x": 5000}}, 404, "unknown_job", None, "no job"
    ),
    "two ways to sign in": Wrong(
        f"POST {SESSION}",
        {"key": "a", "link_token": "b"},
        422,
        "invalid_input",
        "/link_token",
        "one of them",
    ),
    "a wrong key": Wrong(
        f"POST {SESSION}", {"key": "seen_x"}, 401, "authentication", None, "valid API key"
    ),
    "a wrong link": Wrong(
        f"POST {SESSION}", {"link_token": "x"}, 401, "authentication", None, "valid API key"
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_requests_get_their_problem_and_write_nothing(api: HttpApi, name: str) -> None:
    wrong = WRONG[name]
    method, path = wrong.request.split()
    raw = wrong.body if isinstance(wrong.body, bytes) else json.dumps(wrong.body).encode()
    headers = {"Content-Type": "application/json", **wrong.headers}
    before = api.written()
    answer = api.client("root").request(
        method,
        path,
        content=None if wrong.body is None else raw,
        headers=headers if wrong.body is not None else wrong.headers,
    )
    assert answer.headers["content-type"] == "application/problem+json"
    problem = problems.Problem.model_validate_json(answer.content)
    assert (answer.status_code, problem.status, problem.code) == (
        wrong.status,
        wrong.status,
        wrong.code,
    ), answer.text
    assert problem.type == f"urn:seen:problem:{wrong.code}"
    pointers = [one.pointer for one in problem.errors or ()]
    assert wrong.pointer is None or wrong.pointer in pointers, answer.text
    assert wrong.words in answer.text
    assert "`seen " not in answer.text, "a caller over HTTP has no command line"
    assert "hunter2" not in answer.text
    assert api.written() == before


def test_all_wrong_downloads_of_a_request_are_named(api: HttpApi) -> None:
    many = {"downloads": [{"url": "x"}, {"url": A}, {"url": A, "name": "/"}]}
    found = api.client("ada").post(DOWNLOADS, json=many).json()["errors"]
    assert [one["pointer"] for one in found] == ["/downloads/0/url", "/downloads/2/name"]


def test_each_mode_accepts_the_others(api: HttpApi) -> None:
    url = f"https://example.org/{new_job_id()}"
    many = {"downloads": [{"url": "x"}, {"url": url}, {"url": url}], "mode": "each"}
    found = api.client("ada").post(DOWNLOADS, json=many).json()
    assert (found["accepted"], found["refused"]) == (2, 1)
    assert found["results"][0]["problem"]["code"] == "invalid_input"
    first, second = (one["download"]["id"] for one in found["results"][1:])
    assert first == second


def test_each_error_has_a_status() -> None:
    """Of every module with errors that a request can meet: a new class needs a line."""
    modules = (errors, account_errors)
    found = {
        one
        for module in modules
        for _, one in inspect.getmembers(module, inspect.isclass)
        if issubclass(one, errors.SeenError)
    }
    assert found - problems.STATUSES.keys() == set()
    assert {problems.STATUSES[one] for one in found} <= {401, 403, 404, 409, 422, 429, 500, 503}


def test_a_bug_is_answered_without_its_details() -> None:
    assert problems.status_of(errors.NoResultsError()) == 500
    shown = problems.as_item(errors.FencedError("hunter2"))
    assert (shown["status"], "hunter2" in shown["detail"]) == (500, False)


def test_an_outage_is_answered_without_the_names_of_servers() -> None:
    text = 'The database does not answer: connection to server at "10.0.0.7", user "seen", failed.'
    for kind in (errors.DatabaseUnavailableError, errors.StoreUnavailableError):
        shown = problems.as_item(kind(text))
        assert shown["status"] == 503
        assert "does not answer" in shown["detail"]
        assert "10.0.0.7" not in shown["detail"]


def test_aria2s_json_rpc_is_not_there_unless_it_is_set(api: HttpApi) -> None:
    assert api.client("root").post("/jsonrpc", json={}).status_code == 404


def test_no_request_has_parameters_that_are_not_documented(api: HttpApi) -> None:
    # A misspelled filter would change or list all downloads.
    root, stranger = api.client("root"), api.client()
    for path, operations in api.app.openapi()["paths"].items():
        for method, operation in operations.items():
            if not path.startswith("/v1/"):
                continue
            names = {one["name"] for one in operation.get("parameters", []) if one["in"] == "query"}
            before, url = api.written(), re.sub(r"{\w+}", ID, path)
            for name in ("no-such", *(one.upper() for one in sorted(names)[:1])):
                answer = root.request(method, url, params={name: "x"})
                assert answer.status_code == 422, (method, path, answer.text)
                if method != "head":
                    (problem,) = answer.json()["errors"]
                    assert problem["pointer"] == name
                    assert all(one in problem["detail"] for one in names), problem
                anyone = stranger.request(method, url, params={name: "x"})
                is_open = not operation.get("security")
                assert anyone.status_code == (422 if is_open else 401), (method, path)
            assert api.written() == before
