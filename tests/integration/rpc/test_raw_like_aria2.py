"""Bodies, values of options and methods of HTTP, as a real aria2 and as this service answers them."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from api.rpc.options import OPTIONS
from domain.ids import new_job_id
from tests.support.aria2 import Rpc, RpcError, real_aria2, rpc
from tests.support.services.http_api import HttpApi

CALL = b'{"id":1,"method":"system.listNotifications"}'
PARSE, REQUEST = -32700, -32600


class Raw(NamedTuple):
    """A request, and the status and the error's code that each answers with; -1 for no answer at all.

    Attributes:
        said: of a difference, in docs/aria2.md; "" for none, but for 400 where aria2 has 500.
    """

    body: bytes
    aria2: tuple[int, int | None]
    ours: tuple[int, int | None]
    said: str = ""
    method: str = "POST"
    path: str = "/jsonrpc"
    headers: dict[str, str] = {}  # noqa: RUF012 - never changed


FINE: tuple[int, int | None] = (200, None)
NO_GET = "There is no GET, and no JSONP (405)"
RAW = {
    "a call": Raw(CALL, FINE, FINE),
    "white space behind": Raw(CALL + b"\n\n", FINE, FINE),
    "a query": Raw(CALL, FINE, FINE, path="/jsonrpc?x=1"),
    "a path with a slash": Raw(CALL, (404, None), (404, None), path="/jsonrpc/"),
    "a path in capitals": Raw(CALL, (404, None), (404, None), path="/JSONRPC"),
    "nothing": Raw(b"", (500, PARSE), (400, PARSE)),
    "half": Raw(CALL[:-1], (500, PARSE), (400, PARSE)),
    "single quotes": Raw(b"{'id':1}", (500, PARSE), (400, PARSE)),
    "more behind": Raw(CALL + b"x", FINE, (400, PARSE), "what follows a message"),
    "not UTF-8": Raw(
        b'{"id":"\xff","method":"system.listNotifications"}',
        FINE,
        (400, PARSE),
        "A message is UTF-8",
    ),
    "a byte order mark": Raw(b"\xef\xbb\xbf" + CALL, (500, PARSE), FINE, "a byte order mark"),
    "a name twice": Raw(b'{"id":1,' + CALL[1:], (400, REQUEST), FINE, "the last one counts"),
    "no id": Raw(b'{"method":"system.listNotifications"}', (400, REQUEST), (400, REQUEST)),
    "a batch without ids": Raw(b'[{"method":"system.listNotifications"}]', FINE, FINE),
    "an empty batch": Raw(b"[]", FINE, FINE),
    "a batch of numbers": Raw(b"[5]", FINE, FINE),
    "params that are a struct": Raw(
        b'{"id":1,"method":"aria2.getVersion","params":{}}', (500, -32602), (400, -32602)
    ),
    "3 MiB": Raw(b" " * 3 * 2**20 + CALL, (-1, None), FINE, "8 MiB"),
    "gzip": Raw(
        gzip.compress(CALL), (500, PARSE), (400, PARSE), headers={"Content-Encoding": "gzip"}
    ),
    "GET": Raw(
        b"", FINE, (405, None), NO_GET, "GET", "/jsonrpc?id=1&method=system.listNotifications"
    ),
    "PUT": Raw(CALL, (404, None), (405, None), NO_GET, "PUT"),
    "HEAD": Raw(b"", (404, None), (405, None), NO_GET, "HEAD"),
}
TEXT = (Path(__file__).resolve().parents[3] / "docs" / "aria2.md").read_text()
PAGE = " ".join(TEXT.split())


@pytest.fixture(scope="module")
def aria2(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rpc]:
    """A real aria2."""
    if shutil.which("aria2c") is None:
        pytest.skip("needs aria2c")
    with real_aria2(tmp_path_factory.mktemp("aria2")) as client:
        yield client


def _ask(client: Rpc, raw: Raw) -> tuple[int, int | None]:
    url = client.url.removesuffix("/jsonrpc") + raw.path
    try:
        answer = httpx.request(
            raw.method, url, content=raw.body, headers=raw.headers, timeout=60, verify=False
        )
    except httpx.TransportError:
        return -1, None
    try:
        content = json.loads(answer.content)
    except ValueError:  # none, or not UTF-8
        return answer.status_code, None
    error = content.get("error") if isinstance(content, dict) else None
    return answer.status_code, error and error["code"]


@pytest.mark.parametrize("what", RAW)
def test_bodies(api: HttpApi, what: str) -> None:
    assert _ask(rpc(api, "root"), RAW[what]) == RAW[what].ours
    assert RAW[what].said in PAGE


def test_aria2_answers_bodies_as_is_said_here(aria2: Rpc) -> None:
    assert {what: _ask(aria2, raw) for what, raw in RAW.items()} == {
        what: raw.aria2 for what, raw in RAW.items()
    }
    for what, raw in RAW.items():
        both_fail = (raw.aria2[0], raw.ours[0]) == (500, 400)
        assert bool(raw.said) is (raw.aria2 != raw.ours and not both_fail), what


#: Values that are accepted as an option of each of these names; all other names refuse them.
_TEXTS = {"out", "dir", "header", "referer", "user-agent"}
_LOGINS = {"http-user", "http-passwd", "ftp-user", "ftp-passwd"}
_TRUTHS = {"http-no-cache", "pause", "allow-overwrite"}
_ALL = set(OPTIONS)
#: By value: the names with which aria2 takes it, those with which this service does, and what is said.
VALUES: dict[str, tuple[Any, set[str], set[str], str]] = {
    "empty": ("", _TEXTS | _LOGINS | _TRUTHS, _TEXTS | _LOGINS, "An empty truth value is refused"),
    "null": (None, _ALL, set(), "a value of another type is refused"),
    "a struct": ({}, _ALL, set(), "a value of another type is refused"),
    "an empty list": ([], _ALL, _ALL, ""),
}


def _takes(client: Rpc, value: Any) -> set[str]:
    taken = set()
    for name in OPTIONS:
        uri = f"http://127.0.0.1:9/{new_job_id()}"
        try:
            client.call("addUri", [uri], {"pause": "true", name: value})
        except RpcError:
            continue
        taken.add(name)
    return taken


@pytest.mark.parametrize("what", VALUES)
def test_values_of_options(api: HttpApi, what: str) -> None:
    value, _, ours, said = VALUES[what]
    assert _takes(rpc(api, "root"), value) == ours
    assert said in PAGE


def test_aria2_takes_values_as_is_said_here(aria2: Rpc) -> None:
    assert {what: _takes(aria2, one[0]) for what, one in VALUES.items()} == {
        what: one[1] for what, one in VALUES.items()
    }
