"""Logins by Digest, and what is said where none is accepted; of origins and of proxies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from domain.errors import PermanentError
from tests.support.origins.behaviour import Plan, Request, plan_error
from tests.support.origins.origin import Origin
from tests.support.servers import digest_login
from tests.support.servers.http_proxy import HttpProxy, Passed
from tests.support.servers.tls import Authority, TlsFront
from tests.support.services.transferring import QUICK, Direct

BODY = b"0123456789" * 1000
LOGIN = {"username": "ada", "password": "s3cret"}


def test_login_is_given_by_digest_where_the_origin_asks_for_it(
    direct: Direct, origin: Origin
) -> None:
    file = origin.serve("/a.bin", body=BODY, respond=digest_login.asks("ada:s3cret"))
    direct.fetch(file.url, **LOGIN)
    assert direct.data == BODY


def test_every_range_is_asked_for_by_digest(direct: Direct, origin: Origin) -> None:
    file = origin.serve(
        "/a.bin", size=1_000_000, bytes_per_second=2_000_000, respond=digest_login.asks("ada:p")
    )
    direct.fetch(file.url, username="ada", password="p")
    assert direct.data == file.body_slice(0, file.size)
    assert len([one for one in origin.requests if one.status == 206]) > 1


def test_wrong_login_by_digest_fails_and_says_so(direct: Direct, origin: Origin) -> None:
    file = origin.serve("/a.bin", body=BODY, respond=digest_login.asks("ada:other"))
    with pytest.raises(PermanentError, match=r"does not accept the given login .*Digest"):
        direct.fetch(file.url, **LOGIN)


def test_login_by_digest_does_not_go_to_another_host(direct: Direct, origin: Origin) -> None:
    with Origin() as other:
        file = other.serve("/a.bin", body=BODY, respond=digest_login.asks("ada:s3cret"))
        link = origin.serve("/link", body=b"", redirect=file.url)
        assert direct.failure(link.url, **LOGIN) == "http_401"
        assert all("authorization" not in one.headers for one in other.requests)


@pytest.mark.parametrize("scheme", ["Negotiate", "NTLM", "Bearer"])
def test_unsupported_scheme_is_named(direct: Direct, origin: Origin, scheme: str) -> None:
    def respond(_request: Request, _plan: Plan) -> Plan:
        refusal = plan_error(401)
        refusal.headers["WWW-Authenticate"] = scheme
        return refusal

    file = origin.serve("/a.bin", body=BODY, respond=respond)
    with pytest.raises(PermanentError, match=scheme):
        direct.fetch(file.url, **LOGIN)


# ── proxies ─────────────────────────────────────────────────────────────────────────────────────


def asking(challenge: str) -> Callable[[Passed], bytes | None]:
    """A proxy that asks for the login of `LOGIN` by Digest, and takes it."""

    def refuse(request: Passed) -> bytes | None:
        given = request.headers.get("proxy-authorization", "")
        if digest_login.fits(given, request.method, "ada:s3cret"):
            return None
        return (
            f"HTTP/1.1 407 No\r\nProxy-Authenticate: {challenge}\r\n"
            "Content-Length: 0\r\nConnection: close\r\n\r\n"
        ).encode()

    return refuse


@pytest.fixture(params=["http", "https"])
def behind_proxy(
    request: pytest.FixtureRequest, direct: Direct, origin: Origin, authority: Authority
) -> Iterator[Callable[[HttpProxy, str], str]]:
    """Yield what sends a transfer through a proxy, in the clear or by CONNECT; gives the file's URL."""
    file = origin.serve("/a.bin", body=BODY)

    with TlsFront(origin.port, authority.issue("127.0.0.1")) as front:

        def begin(proxy: HttpProxy, login: str = "") -> str:
            address = f"http://{login}127.0.0.1:{proxy.port}"
            direct.options = replace(QUICK, proxy=address, ca_file=authority.ca_file)
            return file.url if request.param == "http" else front.url("/a.bin")

        yield begin


def test_proxy_that_asks_for_a_login_is_named(
    direct: Direct, behind_proxy: Callable[[HttpProxy, str], str]
) -> None:
    with HttpProxy(asking('Basic realm="p"')) as proxy:
        url = behind_proxy(proxy, "")
        with pytest.raises(
            PermanentError, match=r"The proxy .*login \(Basic\).*SEEN_PROXY"
        ) as raised:
            direct.fetch(url)
    assert raised.value.code == "proxy_login"


def test_proxy_that_refuses_its_login_is_named(
    direct: Direct, behind_proxy: Callable[[HttpProxy, str], str]
) -> None:
    with HttpProxy(asking('Basic realm="p"')) as proxy:
        url = behind_proxy(proxy, "ada:s3cret@")
        with pytest.raises(
            PermanentError, match="does not accept the login in SEEN_PROXY"
        ) as raised:
            direct.fetch(url)
    assert "s3cret" not in str(raised.value)


def test_proxy_gets_its_login_by_digest(
    direct: Direct, behind_proxy: Callable[[HttpProxy, str], str]
) -> None:
    with HttpProxy(asking(digest_login.CHALLENGE)) as proxy:
        direct.fetch(behind_proxy(proxy, "ada:s3cret@"))
    assert direct.data == BODY


@pytest.mark.parametrize(("status", "code"), [(403, "proxy_403"), (503, "proxy_503")])
def test_proxy_that_makes_no_connection_is_named(
    direct: Direct, origin: Origin, authority: Authority, status: int, code: str
) -> None:
    origin.serve("/a.bin", body=BODY)
    answer = f"HTTP/1.1 {status} No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()
    with (
        TlsFront(origin.port, authority.issue("127.0.0.1")) as front,
        HttpProxy(lambda _request: answer) as proxy,
    ):
        direct.options = replace(QUICK, proxy=proxy.url, ca_file=authority.ca_file)
        assert direct.failure(front.url("/a.bin")) == code


def test_proxy_without_an_address_is_named(direct: Direct, origin: Origin) -> None:
    direct.options = replace(QUICK, proxy="http://proxy.invalid:3128")
    assert direct.failure(origin.serve("/a.bin", body=BODY).url) == "proxy_dns"
