"""Proxies in front of the API: whose word is believed for a client's address, and for https."""

from __future__ import annotations

import logging
import re
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.datastructures import Headers

from api.middleware.proxy import Client, ProxyHeaders
from tests.integration.api.test_events import events_of
from tests.support.servers.nginx import Nginx
from tests.support.servers.tls import Authority
from tests.support.services.http_api import HttpApi, http_api
from tests.support.stores.server import StoreServer

DOCUMENT = Path(__file__).parents[4] / "docs" / "operations" / "proxy.md"
HOST = "downloads.example.org"
TRUSTED = ("10.0.0.0/24", "fd00::/64", "192.0.2.1/32")
PROXY = "10.0.0.5"
FOR, PROTO, FORWARDED = "X-Forwarded-For", "X-Forwarded-Proto", "Forwarded"

#: What a trusted proxy sends, and the client that follows.
SENT: dict[str, tuple[list[tuple[str, str]], str, str]] = {
    "nothing": ([], PROXY, "http"),
    "an address": ([(FOR, "203.0.113.7")], "203.0.113.7", "http"),
    "an address and https": ([(FOR, "203.0.113.7"), (PROTO, "https")], "203.0.113.7", "https"),
    "https in capitals": ([(FOR, "203.0.113.7"), (PROTO, "HTTPS")], "203.0.113.7", "https"),
    "http": ([(FOR, "203.0.113.7"), (PROTO, "http")], "203.0.113.7", "http"),
    "another scheme": ([(FOR, "203.0.113.7"), (PROTO, "file")], "203.0.113.7", "http"),
    "two schemes": ([(FOR, "203.0.113.7"), (PROTO, "https, http")], "203.0.113.7", "http"),
    "a scheme twice": (
        [(FOR, "203.0.113.7"), (PROTO, "https"), (PROTO, "http")],
        "203.0.113.7",
        "http",
    ),
    "an address that the client has made up": (
        [(FOR, "198.51.100.9, 203.0.113.7")],
        "203.0.113.7",
        "http",
    ),
    "the same in a header of its own": (
        [(FOR, "198.51.100.9"), (FOR, "203.0.113.7")],
        "203.0.113.7",
        "http",
    ),
    "this machine's address, made up": (
        [(FOR, "127.0.0.1, 203.0.113.7")],
        "203.0.113.7",
        "http",
    ),
    "a proxy's address, made up": ([(FOR, "10.0.0.9, 203.0.113.7")], "203.0.113.7", "http"),
    "two proxies": ([(FOR, "203.0.113.7, 10.0.0.6")], "203.0.113.7", "http"),
    "two proxies and an address made up": (
        [(FOR, "198.51.100.9, 203.0.113.7, 10.0.0.6")],
        "203.0.113.7",
        "http",
    ),
    "proxies alone": ([(FOR, "10.0.0.7, 10.0.0.6")], "10.0.0.7", "http"),
    "an IPv6 address": ([(FOR, "2001:db8::7")], "2001:db8::7", "http"),
    "an IPv6 address in brackets": ([(FOR, "[2001:db8::7]:4711")], "2001:db8::7", "http"),
    "an IPv4 address as IPv6": ([(FOR, "::ffff:203.0.113.7")], "203.0.113.7", "http"),
    "an address with its port": ([(FOR, "203.0.113.7:4711")], "203.0.113.7", "http"),
    "an unknown one": ([(FOR, "unknown")], PROXY, "http"),
    "an unknown one behind an address": ([(FOR, "203.0.113.7, unknown")], PROXY, "http"),
    "an unknown one before a proxy": ([(FOR, "unknown, 10.0.0.6")], "10.0.0.6", "http"),
    "an empty one": ([(FOR, "")], PROXY, "http"),
    "commas": ([(FOR, ",,,")], PROXY, "http"),
    "text": ([(FOR, "203.0.113.7\t\x01<script>")], PROXY, "http"),
    "a number": ([(FOR, "3405803783")], PROXY, "http"),
    "an octal address": ([(FOR, "0313.0.0161.7")], PROXY, "http"),
    "a thousand addresses": (
        [(FOR, "198.51.100.9," * 1000 + "203.0.113.7")],
        "203.0.113.7",
        "http",
    ),
    "Forwarded": ([(FORWARDED, "for=203.0.113.7;proto=https")], "203.0.113.7", "https"),
    "Forwarded with IPv6": ([(FORWARDED, 'For="[2001:db8::7]:47"')], "2001:db8::7", "http"),
    "Forwarded by two proxies": (
        [(FORWARDED, "for=203.0.113.7;proto=https, for=10.0.0.6;proto=http")],
        "203.0.113.7",
        "https",
    ),
    "Forwarded, and an address made up": (
        [(FORWARDED, "for=198.51.100.9;proto=https, for=203.0.113.7")],
        "203.0.113.7",
        "http",
    ),
    "Forwarded for an unknown one": ([(FORWARDED, "for=unknown;proto=https")], PROXY, "http"),
    "Forwarded for a hidden one": ([(FORWARDED, "for=_abc;proto=https")], PROXY, "http"),
    "Forwarded by name alone": ([(FORWARDED, "by=10.0.0.5")], PROXY, "http"),
    "Forwarded with a name twice": (
        [(FORWARDED, "for=203.0.113.7;for=198.51.100.9")],
        "203.0.113.7",
        "http",
    ),
    "Forwarded that cannot be parsed": ([(FORWARDED, 'for="203.0.113.7')], PROXY, "http"),
    "Forwarded with an escape": ([(FORWARDED, 'for="a\\",for=1.2.3.4')], PROXY, "http"),
    "both, and the same": (
        [(FOR, "203.0.113.7"), (PROTO, "https"), (FORWARDED, "for=203.0.113.7;proto=https")],
        "203.0.113.7",
        "https",
    ),
    "Forwarded by the client": (
        [(FOR, "203.0.113.7"), (FORWARDED, "for=198.51.100.9;proto=https")],
        PROXY,
        "http",
    ),
    "X-Forwarded-For by the client": (
        [(FORWARDED, "for=203.0.113.7"), (FOR, "198.51.100.9")],
        PROXY,
        "http",
    ),
    "a scheme alone": ([(PROTO, "https")], PROXY, "http"),
    "another header": (
        [("X-Real-IP", "203.0.113.7"), ("True-Client-IP", "203.0.113.7")],
        PROXY,
        "http",
    ),
}


def client(peer: str, sent: list[tuple[str, str]], trusted: tuple[str, ...] = TRUSTED) -> Client:
    no_app: Any = None
    raw = [(name.lower().encode(), text.encode()) for name, text in sent]
    return ProxyHeaders(no_app, trusted).client(Client(peer, "http"), Headers(raw=raw))


@pytest.mark.parametrize("what", SENT)
def test_what_a_trusted_proxy_says_is_believed_up_to_the_first_other_address(what: str) -> None:
    sent, address, scheme = SENT[what]
    assert client(PROXY, sent) == (address, scheme)


@pytest.mark.parametrize("what", SENT)
@pytest.mark.parametrize("peer", ["203.0.113.7", "127.0.0.1", "10.0.1.5", "fd00:1::1", "::1", "x"])
def test_what_others_say_is_not_believed(peer: str, what: str) -> None:
    assert client(peer, SENT[what][0]) == (peer, "http")
    assert client(PROXY, SENT[what][0], ()) == (PROXY, "http")


@pytest.mark.parametrize("peer", ["::ffff:10.0.0.5", "fd00::5", "fd00::5%eth0", "192.0.2.1"])
def test_proxies_are_known_in_every_spelling_of_their_address(peer: str) -> None:
    assert client(peer, [(FOR, "203.0.113.7")]).address == "203.0.113.7"


@pytest.fixture(scope="module")
def proxied(
    tmp_path_factory: pytest.TempPathFactory, _shared_store: StoreServer
) -> Iterator[HttpApi]:
    """An API behind a proxy on this machine, which limits failed sign-ins early."""
    settings = {
        "SEEN_API_TRUSTED_PROXIES": "127.0.0.1/32",
        "SEEN_API_HOSTS": HOST,
        "SEEN_ADDRESS_FAILURES": "3",
    }
    with http_api(tmp_path_factory.mktemp("api"), _shared_store, settings=settings) as api:
        yield api


def _guess(api: HttpApi, **headers: str) -> int:
    wrong = {"Authorization": f"Bearer seen_abcd1234_{'0' * 43}", **headers}
    return api.client().get("/v1/totals", headers=wrong).status_code


def test_failed_sign_ins_count_for_the_client_and_are_logged_with_its_address(
    proxied: HttpApi, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        found = [_guess(proxied, **{FOR: "203.0.113.7"}) for _ in range(4)]
        assert found == [401, 401, 401, 429]
        assert _guess(proxied, **{FOR: "203.0.113.8"}) == 401
        assert _guess(proxied, **{FOR: "198.51.100.1, 203.0.113.7"}) == 429  # no way around it
    assert "A sign-in from 203.0.113.7 failed" in caplog.text
    assert "A sign-in from 203.0.113.8 failed" in caplog.text
    assert "198.51.100.1" not in caplog.text


def test_without_trusted_proxies_nothing_changes(
    api: HttpApi, caplog: pytest.LogCaptureFixture
) -> None:
    headers = {FOR: "203.0.113.9", PROTO: "https", FORWARDED: "for=203.0.113.9;proto=https"}
    with caplog.at_level(logging.WARNING):
        assert _guess(api, **headers) == 401
    assert "A sign-in from 127.0.0.1 failed" in caplog.text
    assert "203.0.113.9" not in caplog.text
    answer = api.client().post("/v1/session", json={"key": api.keys["ada"]}, headers=headers)
    assert "Secure" not in answer.headers["set-cookie"]
    assert "strict-transport-security" not in answer.headers


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_cookie_and_origin_follow_the_clients_scheme(proxied: HttpApi, scheme: str) -> None:
    headers = {FOR: "203.0.113.7", PROTO: scheme, "Host": HOST}
    with proxied.new_client(headers=headers) as browser:
        answer = browser.post("/v1/session", json={"key": proxied.keys["ada"]})
        cookie = answer.headers["set-cookie"]
        assert ("Secure" in cookie.split("; ")) is (scheme == "https")
        assert cookie.startswith("__Host-seen_session=") is (scheme == "https")
        assert ("strict-transport-security" in answer.headers) is (scheme == "https")
        signed_in = {"Cookie": cookie.partition(";")[0]}
        for origin, served in ((f"https://{HOST}", True), (f"http://{HOST}", scheme == "http")):
            found = browser.get("/v1/session", headers={"Origin": origin, **signed_in})
            assert (found.status_code == 200) is served
        gone = browser.delete("/v1/session", headers=signed_in)
        assert gone.headers["set-cookie"].partition("=")[0] == cookie.partition("=")[0]


class Proxy(Nginx):
    """The nginx of the documentation, in front of an API."""

    def __init__(self, api: HttpApi, authority: Authority) -> None:
        super().__init__(certificate=authority.issue("127.0.0.1"))
        self._api = api

    def _config(self, port: int) -> str:
        (server,) = re.findall(r"```nginx\n(.*?)```", DOCUMENT.read_text("utf-8"), re.DOTALL)
        assert self._certificate is not None
        changes = {
            "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
            "/etc/nginx/downloads.pem": str(self._certificate.certificate),
            "/etc/nginx/downloads.key": str(self._certificate.key),
            "http://127.0.0.1:8477": self._api.url,
        }
        for before, after in changes.items():
            assert server.count(before) == 1
            server = server.replace(before, after)
        # The rest of the file is as for other tests: where a user without rights may write.
        return re.sub(
            r"    server \{.*\n    \}\n", lambda _: server, super()._config(port), flags=re.S
        )


@pytest.fixture
def browser(nginx: Nginx, proxied: HttpApi, tmp_path: Path) -> Iterator[httpx.Client]:
    """A client of an nginx as the documentation has it, from an address of its own."""
    authority = Authority(tmp_path)
    trust = ssl.create_default_context(cafile=str(authority.ca_file))
    with Proxy(proxied, authority) as proxy:
        transport = httpx.HTTPTransport(verify=trust, local_address="127.0.0.9")
        headers = {"Host": f"{HOST}:{proxy.port}"}
        with httpx.Client(
            base_url=proxy.url(""), transport=transport, headers=headers, timeout=60
        ) as client:
            yield client


def test_the_nginx_of_the_documentation(
    proxied: HttpApi, browser: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    """Its clients have their addresses, whatever they send, secure cookies, and events at once."""
    host = browser.headers["host"]
    with caplog.at_level(logging.WARNING):
        wrong = {"Authorization": f"Bearer seen_abcd1234_{'1' * 43}"}
        lies = {FOR: "198.51.100.9", FORWARDED: "for=198.51.100.9;proto=http", PROTO: "http"}
        assert browser.get("/v1/totals", headers=wrong | lies).status_code == 401
    assert "A sign-in from 127.0.0.9 failed" in caplog.text
    answer = browser.post("/v1/session", json={"key": proxied.keys["ada"]}, headers=lies)
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("__Host-seen_session=")
    signed_in = {"Cookie": cookie.partition(";")[0], "Origin": f"https://{host}"}
    with browser.stream("GET", "/v1/events", headers=signed_in) as stream:
        events = events_of(stream)
        assert next(events)[1] == "snapshot"
        job = proxied.job_of("ada", "proxied.bin")
        assert next(events)[2]["downloads"][0]["id"] == job.id
    large = [{"url": f"https://example.org/{'x' * 7000}{number}"} for number in range(1000)]
    refused = browser.post("/v1/downloads", json={"downloads": large, "x": 1}, headers=signed_in)
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_input")
    foreign = browser.get("/healthz", headers={"Host": "evil.example"})
    assert foreign.status_code == 421
