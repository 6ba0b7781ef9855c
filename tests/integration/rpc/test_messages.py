"""What a message may be: JSON-RPC as aria2 speaks it, and what comes of anything else."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, NamedTuple

import pytest
from pydantic import ValidationError

from api.app import THREADS
from api.rpc import callers
from api.rpc.calls import MAX_CALLS
from api.rpc.gids import gid_of
from api.services import RPC_TURNS
from settings import Settings
from tasks.api import control
from tests.support.aria2 import rpc
from tests.support.services.http_api import HttpApi

#: A body has this instead of a valid token.
TOKEN = "<token>"
LIST = "system.listNotifications"


class Case(NamedTuple):
    """A body and what it is answered with.

    Attributes:
        body: of the request; other than bytes it becomes JSON.
        status: of HTTP.
        code: of the error; None without one.
        says: a part of the answer.
    """

    body: Any
    status: int
    code: int | None = None
    says: str = ""


def _call(method: object = "aria2.getSessionInfo", *params: Any, **fields: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": [TOKEN, *params], **fields}


def _raw(text: str) -> bytes:
    return text.encode()


PARSE, REQUEST, PARAMS = -32700, -32600, -32602
INNER = {"methodName": LIST, "params": []}
CASES = {
    "a call": Case(_call(), 200, says="sessionId"),
    "without the version": Case({"id": 1, "method": LIST}, 200),
    "another version": Case(_call(jsonrpc="1.0"), 200),
    "an id that is null": Case(_call(id=None), 200, says='"id":null'),
    "an id that is a text": Case(_call(id="ä"), 200, says="\\u00e4"),
    "a huge id": Case(_call(id=10**30), 200, says="1" + "0" * 30),
    "an id that is a struct": Case(_call(id={"a": 1}), 400, REQUEST),
    "an id that is a list": Case(_call(id=[1]), 400, REQUEST),
    "no id, which is a notification": Case({"method": LIST}, 400, REQUEST),
    "no method": Case({"id": 1}, 400, REQUEST),
    "a method that is a number": Case(_call(5), 400, REQUEST),
    "a method that is a list": Case(_call([LIST]), 400, REQUEST),
    "an unknown method": Case(_call("aria2.nope"), 400, 1, "No such method: aria2.nope"),
    "a method of another case": Case(_call("aria2.addURI"), 400, 1, "No such method"),
    "a very long method": Case(_call("x" * 10_000), 400, 1, "No such method"),
    "a method of Python": Case(_call("__class__"), 400, 1, "No such method"),
    "params that are a struct": Case(_call(params={"a": 1}), 400, PARAMS),
    "params that are a text": Case(_call(params="x"), 400, PARAMS),
    "params that are null": Case(_call(params=None), 400, PARAMS),
    "more params than there are": Case(_call("aria2.getSessionInfo", 5, {}), 200),
    "nothing": Case(b"", 400, PARSE),
    "no JSON": Case(b"{", 400, PARSE),
    "not UTF-8": Case(b'{"id":"\xff"}', 400, PARSE),
    "a text": Case("x", 400, REQUEST),
    "a number": Case(5, 400, REQUEST),
    "null": Case(None, 400, REQUEST),
    "NaN": Case(_raw('{"id":NaN,"method":"x"}'), 400, PARSE),
    "NaN as a param": Case(_raw('{"id":1,"method":"x","params":[NaN]}'), 400, PARSE),
    "Infinity": Case(_raw('{"id":1,"method":"x","params":[-Infinity]}'), 400, PARSE),
    "an id beyond all floats": Case(_raw('{"id":1e999,"method":"' + LIST + '"}'), 400, REQUEST),
    "an id below all floats": Case(
        _raw('[{"id":-1e999,"method":"' + LIST + '"}]'), 200, says="Inv"
    ),
    "a number of 5,000 digits": Case(_raw('{"id":' + "9" * 5_000 + "}"), 400, PARSE),
    "a float beyond all": Case(_call("aria2.tellWaiting", 1e300, 1), 400, 1, "wrong type"),
    "an infinite float": Case(
        _raw('{"id":1,"method":"aria2.tellWaiting","params":["<token>",1e999,1]}'), 400, 1
    ),
    "lists in lists": Case(b"[" * 100_000 + b"]" * 100_000, 400, PARSE),
    "structs in structs": Case(b'{"a":' * 100_000 + b"1" + b"}" * 100_000, 400, PARSE),
    "a deep param": Case(
        _raw('{"id":1,"method":"aria2.getVersion","params":' + "[" * 500 + "]" * 500 + "}"), 400, 1
    ),
    "a name twice": Case(_raw('{"id":1,"id":2,"method":"' + LIST + '"}'), 200, says='"id":2'),
    "a lone surrogate": Case(_raw('{"id":"\\ud800","method":"' + LIST + '"}'), 200, says="\\ud800"),
    "a batch": Case([_call(), _call("aria2.nope", id=2)], 200, says="No such method"),
    "an empty batch": Case([], 200, says="[]"),
    "the same id twice": Case([_call(id=7), _call(id=7)], 200, says='"id":7'),
    "a batch with a number": Case([5, _call()], 200, says="sessionId"),
    "a batch of batches": Case([[_call()]], 200, says="[]"),
    "too many calls": Case([_call(LIST)] * (MAX_CALLS + 1), 400, REQUEST, "at most"),
    "too many inner calls": Case(
        _call("system.multicall", params=[[INNER] * 10_000]), 400, REQUEST
    ),
    "too many in several": Case(
        [_call("system.multicall", params=[[INNER] * 600])] * 2, 400, REQUEST
    ),
    "as many inner calls as may be": Case(
        _call("system.multicall", params=[[INNER] * (MAX_CALLS - 1)]), 200
    ),
    "multicall in multicall": Case(
        _call("system.multicall", params=[[{"methodName": "system.multicall", "params": [[]]}]]),
        200,
        says="Recursive system.multicall forbidden.",
    ),
    "multicall without calls": Case(_call("system.multicall", params=[[]]), 200, says="[]"),
    "multicall of nothing": Case(
        _call("system.multicall", params=[]), 400, 1, "The parameter at 0 is required"
    ),
    "multicall with a token in front": Case(
        _call("system.multicall", [INNER]), 400, 1, "The parameter at 0 has wrong type."
    ),
    "multicall of a number": Case(
        _call("system.multicall", params=[[5]]), 200, says="system.multicall expected struct."
    ),
    "multicall without a name": Case(
        _call("system.multicall", params=[[{"params": []}]]), 200, says="Missing methodName."
    ),
    "multicall without a token inside": Case(
        _call("system.multicall", params=[[{"methodName": "aria2.getVersion"}]]),
        200,
        says="Unauthorized",
    ),
    "no token": Case(_call(params=[]), 400, 1, "Unauthorized"),
    "an unknown method without a token": Case(
        _call("aria2.nope", params=[]), 400, 1, "Unauthorized"
    ),
    "a token behind": Case(_call("aria2.tellActive", params=[[], TOKEN]), 400, 1, "Unauthorized"),
    "a token in a struct": Case(_call(params=[{"token": TOKEN}]), 400, 1, "Unauthorized"),
    "a token in capitals": Case(_call(params=["TOKEN:x"]), 400, 1, "Unauthorized"),
    "the token of a sign-in link": Case(
        _call(params=["token:seen_link_" + "a" * 43]), 400, 1, "Unauthorized"
    ),
    "a GID that is a number": Case(_call("aria2.tellStatus", 5), 400, 1, "wrong type"),
    "a GID that is null": Case(_call("aria2.tellStatus", None), 400, 1, "wrong type"),
    "an empty GID": Case(_call("aria2.tellStatus", ""), 400, 1, "Invalid GID "),
    "a GID of 17 digits": Case(_call("aria2.tellStatus", "0" * 17), 400, 1, "Invalid GID"),
    "a GID with a percent sign": Case(_call("aria2.tellStatus", "%"), 400, 1, "Invalid GID %"),
    "a GID of other digits": Case(_call("aria2.tellStatus", "١"), 400, 1, "Invalid GID"),
    "a very long GID": Case(_call("aria2.tellStatus", "x" * 10_000), 400, 1, "\\u2026"),
    "keys that are a text": Case(_call("aria2.tellActive", "gid"), 400, 1, "wrong type"),
    "keys that are numbers": Case(_call("aria2.tellActive", [5, None]), 200),
    "a negative number": Case(_call("aria2.tellWaiting", 0, -1), 400, 1, "greater than or equal"),
    "a truth value as a number": Case(_call("aria2.tellWaiting", True, 1), 400, 1, "wrong type"),
    "a number as a text": Case(_call("aria2.tellWaiting", "0", 1), 400, 1, "wrong type"),
    "an offset far away": Case(_call("aria2.tellStopped", -(2**63), 2**63 - 1), 400, 1, "wrong"),
    "a large offset": Case(_call("aria2.tellStopped", -(2**62), 2**62), 200, says="[]"),
    "no URIs": Case(_call("aria2.addUri", []), 400, 1, "URI is not provided."),
    "URIs that are a text": Case(_call("aria2.addUri", "http://a.example/"), 400, 1, "wrong type"),
    "URIs that are numbers": Case(_call("aria2.addUri", [5]), 400, 1, "URI is not provided."),
    "a URI that is none": Case(_call("aria2.addUri", ["nonsense"]), 400, 1, "No URI to download."),
    "a URI of a file": Case(_call("aria2.addUri", ["file:///etc/passwd"]), 400, 1, "No URI"),
    "sftp": Case(_call("aria2.addUri", ["sftp://a.example/x"]), 400, 1, "must begin with"),
    "a magnet URI": Case(_call("aria2.addUri", ["magnet:?xt=urn:btih:0"]), 400, 1, "BitTorrent"),
    "options that are a list": Case(
        _call("aria2.addUri", ["https://a.example/"], []), 400, 1, "wrong type"
    ),
    "a position below zero": Case(
        _call("aria2.addUri", ["https://a.example/"], {}, -1), 400, 1, "Position must be"
    ),
    "an unknown way to move": Case(
        _call("aria2.changePosition", "0" * 16, 0, "POS_X"), 400, 1, "is not found"
    ),
}


@pytest.mark.parametrize("what", CASES)
def test_messages(api: HttpApi, what: str) -> None:
    case, client, before = CASES[what], rpc(api, "root"), api.written()
    raw = case.body if isinstance(case.body, bytes) else json.dumps(case.body).encode()
    answer = client.send(raw.replace(TOKEN.encode(), f"token:{client.token}".encode()))
    assert answer.status_code == case.status
    assert answer.headers["content-type"] == "application/json-rpc"
    assert case.says in answer.text
    content = json.loads(answer.text)
    if case.code is not None:
        assert content["error"]["code"] == case.code
        assert set(content) == {"id", "jsonrpc", "error"}
    elif isinstance(content, dict):
        assert set(content) == {"id", "jsonrpc", "result"}
    assert api.written() == before


TOO_MUCH, TOO_LONG = "asks for too much", "have taken too long"
#: Calls of which one message may not have many: each can read as many downloads as there are.
LARGE: dict[str, list[Any]] = {
    "aria2.tellWaiting": [0, 1_000],
    "aria2.tellWaiting, of which nothing is asked for": [0, 0],
    "aria2.tellStopped": [-1, 1_000],
    "aria2.tellStatus": ["<gid>"],
    "aria2.getFiles": ["<gid>"],
    "aria2.getUris": ["<gid>"],
    "aria2.changePosition": ["<gid>", 0, "POS_END"],
}


@pytest.fixture(scope="module")
def waiting_gid(api: HttpApi) -> str:
    """Give eve a download that waits, whose GID it is, and one that was removed."""
    control.cancel(api.job_of("eve", "removed").id, runtime=api.system.runtime)
    return gid_of(api.job_of("eve", "waits" + "x" * 1_000).id)


@pytest.mark.parametrize("method", LARGE)
@pytest.mark.parametrize("is_batch", [False, True])
def test_what_one_message_reads_is_limited(
    api: HttpApi,
    waiting_gid: str,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    is_batch: bool,
) -> None:
    client, gid = rpc(api, "eve"), waiting_gid
    params = client.params(*(gid if one == "<gid>" else one for one in LARGE[method]))
    name = method.partition(",")[0]
    monkeypatch.setattr(callers, "MOST_CHARACTERS", 36 * 20)
    if is_batch:
        answers = client.send([{"id": n, "method": name, "params": params} for n in range(30)])
        errors = [one.get("error") for one in answers.json()]
    else:
        inner = [{"methodName": name, "params": params}] * 30
        answers = client.send({"id": 1, "method": "system.multicall", "params": [inner]})
        errors = [None if isinstance(one, list) else one for one in answers.json()["result"]]
    assert len(errors) == 30
    assert TOO_MUCH in errors[-1]["message"]
    # Another message begins with all of it again.
    monkeypatch.undo()
    assert client.answer(name, *params[1:])["result"] is not None


def test_nothing_is_done_behind_a_call_that_was_refused(
    api: HttpApi, waiting_gid: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of a thousand calls would read its downloads, only to be refused, too."""
    client, before = rpc(api, "eve"), api.written()
    monkeypatch.setattr(callers, "MOST_CHARACTERS", 1_500)
    calls = [("aria2.tellStatus", [waiting_gid])] * 3 + [
        ("aria2.getVersion", []),
        ("aria2.remove", [waiting_gid]),
        ("aria2.pauseAll", []),
    ]
    several = [
        {"id": n, "method": method, "params": client.params(*params)}
        for n, (method, params) in enumerate(calls)
    ]
    answers = client.send(several).json()
    assert [TOO_MUCH in one.get("error", {}).get("message", "") for one in answers] == [True] * 6
    assert api.written() == before


def test_a_message_whose_calls_take_long_ends_early(
    api: HttpApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callers, "MOST_SECONDS", -1.0)
    client, before = rpc(api, "ada"), api.written()
    inner = [{"methodName": "aria2.addUri", "params": client.params(["http://127.0.0.1:9/l"])}] * 2
    found = client.send({"id": 1, "method": "system.multicall", "params": [inner]}).json()["result"]
    assert [TOO_LONG in one["message"] for one in found] == [True, True]
    assert api.written() == before


def test_messages_leave_threads_to_other_requests() -> None:
    assert RPC_TURNS < THREADS // 2


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "HEAD"])
def test_other_methods_of_http_are_refused(api: HttpApi, method: str) -> None:
    path = f"/jsonrpc?method={LIST}&id=1&jsoncallback=x"
    assert api.client().request(method, path).status_code == 405


@pytest.mark.parametrize(
    "kind", ["application/json", "text/plain", "application/x-www-form-urlencoded", ""]
)
def test_a_body_may_have_any_type(api: HttpApi, kind: str) -> None:
    headers = {"Content-Type": kind} if kind else {}
    answer = rpc(api, "ada").send({"id": 1, "method": LIST}, headers=headers)
    assert "aria2.onDownloadStart" in answer.json()["result"]


def test_a_body_has_the_size_of_the_api(api: HttpApi) -> None:
    body = b" " * (api.services.limits.body_bytes + 1)
    assert rpc(api, "ada").send(body).status_code == 413


def test_each_call_counts_as_a_request_of_its_user(api: HttpApi) -> None:
    client = rpc(api, "vic")
    inner = [{"methodName": "aria2.getVersion", "params": client.params()}] * (MAX_CALLS - 1)
    client.send({"id": 1, "method": "system.multicall", "params": [inner]})
    call = {"method": "aria2.getVersion", "params": client.params()}
    several = client.send([{**call, "id": number} for number in range(3)])
    assert several.json()[-1]["error"] == {
        "code": 1,
        "message": "More than 1,000 requests in a minute. Repeat this one later.",
    }
    assert client.send({**call, "id": 1}).status_code == 429


ORIGINS = {
    "none": (None, 200, False),
    "the API's own": ("<own>", 200, False),
    "a configured one": ("https://ariang.example", 200, True),
    "in capitals": ("https://ARIANG.example", 200, True),
    "another one": ("https://evil.example", 403, False),
    "another port": ("https://ariang.example:8443", 403, False),
    "another scheme": ("http://ariang.example", 403, False),
    "a longer one": ("https://ariang.example.evil.example", 403, False),
    "a file's": ("null", 403, False),
    "an extension's": ("chrome-extension://abc", 403, False),
}


@pytest.mark.parametrize("what", ORIGINS)
def test_pages_of_configured_origins_may_call(api: HttpApi, what: str) -> None:
    origin, status, is_named = ORIGINS[what]
    shown = (origin or "").replace("<own>", api.url)
    headers = {} if origin is None else {"Origin": shown, "Sec-Fetch-Site": "cross-site"}
    if what == "the API's own":
        headers["Sec-Fetch-Site"] = "same-origin"
    answers = [
        rpc(api, "ada").send({"id": 1, "method": LIST}, headers=headers),
        api.client().options("/jsonrpc", headers=headers),
    ]
    for answer in answers:
        assert answer.status_code == (204 if status == 200 and answer.content == b"" else status)
        named = answer.headers.get("access-control-allow-origin")
        assert named == (shown if is_named else None)
        assert "access-control-allow-credentials" not in answer.headers
    # A configured origin may call nothing else.
    if is_named:
        assert api.client("ada").get("/v1/totals", headers=headers).status_code == 403


#: Settings, origins that they allow, and origins that they do not.
ALLOWED = {
    "*": (["https://a.example", "null", "moz-extension://x"], []),
    "null": (["null"], ["https://a.example", "nullx"]),
    "moz-extension://*": (["moz-extension://x"], ["https://a.example", "chrome-extension://x"]),
    "https://a.example:8443": (["https://a.example:8443"], ["https://a.example"]),
    "": ([], ["https://a.example", "null", "*", ""]),
}


@pytest.mark.parametrize("setting", ALLOWED)
def test_origins_that_a_setting_allows(api: HttpApi, setting: str) -> None:
    origins = Settings.model_validate({"aria2_rpc_origins": setting}).aria2_rpc_origins
    services = replace(api.services, rpc_origins=frozenset(origins))
    allowed, others = ALLOWED[setting]
    assert all(map(services.allows_rpc_origin, allowed))
    assert not any(map(services.allows_rpc_origin, others))


@pytest.mark.parametrize("wrong", ["a.example", "https://a.example/", "https://*.example", "a b"])
def test_what_is_no_origin_is_refused(wrong: str) -> None:
    with pytest.raises(ValidationError, match="an origin is"):
        Settings.model_validate({"aria2_rpc_origins": wrong})


def test_a_cookie_or_a_header_is_no_token(api: HttpApi) -> None:
    body = {"id": 1, "method": "aria2.getVersion", "params": []}
    assert (
        api.client("root").post("/jsonrpc", json=body).json()["error"]["message"] == "Unauthorized"
    )
