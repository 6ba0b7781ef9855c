"""Attacks: pages of other sites, foreign host names, headers and bodies without end, stolen sessions."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import httpx
import pytest

from api.app import create_app
from api.middleware.headers import DEFAULTS
from api.server import Protocol
from api.services import HttpLimits, Services, host_of_authority
from domain.access import Principal
from tasks.api import accounts
from tests.support.services.http_api import HttpApi, http_api
from tests.support.services.system import client_runtime
from tests.support.stores.server import StoreServer

LIMITS = HttpLimits(body_bytes=2_000, body_seconds=1.0, header_seconds=1.0)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory, _shared_store: StoreServer) -> Iterator[HttpApi]:
    """Limits that a test can reach."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Protocol, "header_seconds", LIMITS.header_seconds)
        settings = {"SEEN_API_HOSTS": "downloads.example.org"}
        folder = tmp_path_factory.mktemp("api")
        with http_api(folder, _shared_store, limits=LIMITS, settings=settings) as api:
            yield api


HOSTS = {
    "127.0.0.1:8477": True,
    "localhost": True,
    "LOCALHOST:1": True,
    "localhost.": True,
    "downloads.example.org": True,
    "DOWNLOADS.example.org:443": True,
    "[::1]:8477": True,
    "192.168.1.7:8477": True,
    "evil.example": False,
    "downloads.example.org.evil.example": False,
    "evil.example#localhost": False,
    "localhost@evil.example": False,
    "evil.example, localhost": False,
    "localhost:8477/evil": False,
    "127.0.0.1.evil.example": False,
    "[::1].evil.example": False,
    "": False,
}


@pytest.mark.parametrize("host", HOSTS)
def test_only_names_of_this_service_are_answered(api: HttpApi, host: str) -> None:
    answer = api.client("ada").get("/v1/totals", headers={"Host": host})
    assert answer.status_code == (200 if HOSTS[host] else 421)


def test_two_hosts_are_refused(api: HttpApi) -> None:
    request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n"
    assert b" 200 " not in _raw(api, request).split(b"\r\n")[0]


OWN = "http://127.0.0.1"
#: Headers of a browser, and whether a POST and a GET with them are served.
SITES: dict[str, tuple[dict[str, str], bool, bool]] = {
    "a program": ({}, True, True),
    "our page": ({"Sec-Fetch-Site": "same-origin", "Origin": "<own>"}, True, True),
    "a typed address": ({"Sec-Fetch-Site": "none"}, True, True),
    "another site": ({"Sec-Fetch-Site": "cross-site"}, False, False),
    "another port": ({"Sec-Fetch-Site": "same-site"}, False, False),
    "another origin": ({"Origin": "https://evil.example"}, False, False),
    "another port's origin": ({"Origin": f"{OWN}:1"}, False, False),
    "another scheme": ({"Origin": "ftp://<host>"}, False, False),
    "an opaque origin": ({"Origin": "null"}, False, False),
    "an origin that is no address": ({"Origin": "http://["}, False, False),
    "an origin with a user": ({"Origin": "http://<host>@evil.example"}, False, False),
    "a link on another site": (
        {
            "Sec-Fetch-Site": "cross-site",
            "Sec-Fetch-Mode": "navigate",
            "Sec-Fetch-Dest": "document",
        },
        False,
        True,
    ),
    "a frame": (
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
        False,
        False,
    ),
    "a form of another site": (
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Origin": "null"},
        False,
        False,
    ),
}


@pytest.mark.parametrize("site", SITES)
def test_pages_of_other_sites_are_refused(api: HttpApi, site: str) -> None:
    headers, posts, gets = SITES[site]
    host = f"127.0.0.1:{api.port}"
    headers = {
        name: text.replace("<own>", api.url).replace("<host>", host)
        for name, text in headers.items()
    }
    before = api.written()
    post = api.client("ada").post(
        "/v1/downloads",
        json={"url": f"https://example.org/{site}".replace(" ", "")},
        headers=headers,
    )
    assert (post.status_code == 201) is posts, post.text
    assert (api.written() != before) is posts
    assert (api.client("ada").get("/v1/totals", headers=headers).status_code == 200) is gets


def test_refusals_have_the_security_headers(api: HttpApi) -> None:
    answers = [
        api.client().get("/healthz"),
        api.client().get("/v1/downloads"),
        api.client().get("/healthz", headers={"Host": "evil.example"}),
        api.client("ada").get("/nothing"),
        api.client("ada").post("/v1/downloads", content=b"x"),
    ]
    for answer in answers:
        assert {name: answer.headers[name] for name in DEFAULTS} == DEFAULTS
        assert "server" not in answer.headers
        assert "access-control-allow-origin" not in answer.headers


def _raw(api: HttpApi, *parts: bytes) -> bytes:
    """Send bytes, and return all that comes until the other end closes."""
    with closing(socket.create_connection(("127.0.0.1", api.port), timeout=20)) as connection:
        for part in parts:
            connection.sendall(part)
        received = b""
        try:
            while chunk := connection.recv(65536):
                received += chunk
        except ConnectionResetError:
            pass
        return received


_HEAD = b"POST /v1/session HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


def test_bodies_that_are_too_large_are_refused(api: HttpApi) -> None:
    """Announced, sent in chunks, or announced with a number without end."""
    large = api.client("ada").post("/v1/downloads", json={"url": "x" * 3_000})
    assert (large.status_code, large.json()["code"]) == (413, "body_too_large")
    chunks = api.client("ada").post(
        "/v1/downloads",
        content=iter([b"x" * 1_000] * 3),
        headers={"Content-Type": "application/json"},
    )
    assert chunks.status_code == 413
    assert b" 413 " in _raw(api, _HEAD + b"Content-Length: 9999999999\r\n\r\n{").split(b"\r\n")[0]


def test_a_body_of_two_lengths_is_refused_and_nothing_after_it_is_read(api: HttpApi) -> None:
    """A proxy that takes the other length would take the second request for a part of the body."""
    second = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    lengths = b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n" % (5 + len(second))
    received = _raw(api, _HEAD + lengths + b"0\r\n\r\n" + second)
    assert b" 400 " in received.split(b"\r\n")[0]
    assert received.count(b"HTTP/1.1 ") == 1


def test_slow_bodies_and_headers_are_cut_off(api: HttpApi) -> None:
    assert b" 408 " in _raw(api, _HEAD + b"Content-Length: 100\r\n\r\n{").split(b"\r\n")[0]
    assert _raw(api, b"") == b""
    assert _raw(api, b"GET /healthz HTTP/1.1\r\nHost: loc") == b""


def test_headers_that_are_too_large_are_refused(api: HttpApi) -> None:
    answer = _raw(api, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 200_000)
    assert answer == b"" or b" 4" in answer.split(b"\r\n")[0]


def _link(api: HttpApi, user: str) -> str:
    return accounts.create_link(Principal.local(), user, runtime=api.system.runtime).token


def test_a_session_begins_with_a_link_and_ends_with_the_sign_out(api: HttpApi) -> None:
    link = _link(api, "ada")
    with api.new_client() as browser:
        answer = browser.post("/v1/session", json={"link_token": link})
        assert answer.json()["user_id"] == "ada"
        cookie = answer.headers["set-cookie"]
        assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(cookie.split("; "))
        assert "Secure" not in cookie  # this API is served without TLS
        assert "token" not in answer.json()
        assert browser.get("/v1/session").json()["kind"] == "session"
        with api.new_client() as other:
            assert other.post("/v1/session", json={"link_token": link}).status_code == 401
        stolen = dict(browser.cookies)
        browser.post("/v1/session/refresh")
        with api.new_client(cookies=stolen) as thief:
            assert thief.get("/v1/session").status_code == 401
        assert browser.delete("/v1/session").status_code == 204
        assert browser.get("/v1/session").status_code == 401


def test_no_session_can_be_fixed_before_the_sign_in(api: HttpApi) -> None:
    with api.new_client(cookies={"seen_session": "seen_session_" + "a" * 43}) as victim:
        victim.post("/v1/session", json={"link_token": _link(api, "ada")})
        assert victim.get("/v1/session").status_code == 200
    with api.new_client(cookies={"seen_session": "seen_session_" + "a" * 43}) as attacker:
        assert attacker.get("/v1/session").status_code == 401


def test_signing_out_everywhere_ends_all_sessions(api: HttpApi) -> None:
    def tokens() -> Iterator[str]:
        for _ in range(2):
            body = {"key": api.keys["ada"], "bearer": True}
            yield api.client().post("/v1/session", json=body).json()["token"]

    first, second = ({"Authorization": f"Bearer {token}"} for token in tokens())
    assert api.client().get("/v1/session", headers=first).status_code == 200
    assert api.client().post("/v1/session/everywhere", headers=second).status_code == 204
    assert api.client().get("/v1/session", headers=first).status_code == 401
    assert api.client("ada").get("/v1/session").status_code == 200


def test_under_https_cookies_are_for_this_host_alone(api: HttpApi) -> None:
    app = create_app(replace(api.services, is_secure=True))

    async def sign_in() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="https://localhost") as client:
            return await client.post("/v1/session", json={"key": api.keys["ada"]})

    answer = asyncio.run(sign_in())
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("__Host-seen_session=")
    assert {"Secure", "HttpOnly", "SameSite=strict", "Path=/"} <= set(cookie.split("; "))
    assert "strict-transport-security" in answer.headers
    variables = {**api.system.variables, "SEEN_API_URL": "https://seen.example.org"}
    runtime = client_runtime(variables)
    services = Services.of(runtime)
    runtime.close()
    assert services.is_secure
    assert services.is_own_host("seen.example.org")


@pytest.mark.parametrize("authority", ["a b", "a:x", "[::1", "a:99999999", "\x00"])
def test_what_is_no_authority_has_no_host(authority: str) -> None:
    found = host_of_authority(authority)
    assert found is None or found == "\x00"


def test_guessing_keys_is_limited(api: HttpApi) -> None:
    """The valid key of the same address works all the time. (Last: the limit holds for a minute.)"""
    statuses = []
    for number in range(25):
        guess = {"Authorization": f"Bearer seen_abcd1234_{number:043d}"}
        answer = api.client().get("/v1/session", headers=guess)
        statuses.append(answer.status_code)
    assert statuses[:2] == [401, 401]
    assert statuses[-1] == 429
    assert int(answer.headers["retry-after"]) >= 1
    assert api.client("ada").get("/v1/session").status_code == 200
