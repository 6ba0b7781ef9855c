"""Who may have a file, by what way, and from whom else: logins, headers, a proxy, mirrors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.origins import misbehaviour as does
from tests.support.origins.origin import Origin, ServedFile
from tests.support.servers.http_proxy import HttpProxy
from tests.support.servers.tls import Authority, TlsFront
from tests.support.services.transferring import QUICK, Direct

SIZE = 2_000_000


def serve(origin: Origin, path: str = "/a.bin", **behaviour: object) -> ServedFile:
    values: dict[str, object] = {"etag": '"1"', "bytes_per_second": 2_000_000, **behaviour}
    return origin.serve(path, size=SIZE, seed="the file", **values)  # type: ignore[arg-type]


def test_a_login_goes_with_every_range(direct: Direct, origin: Origin) -> None:
    file = serve(origin, respond=does.needs_login("ada", "l:ö"))
    assert direct.failure(file.url) == "http_401"
    assert direct.failure(file.url, username="ada", password="no") == "http_401"

    direct.fetch(file.url, username="ada", password="l:ö")

    assert direct.data == file.body_slice(0, SIZE)
    assert origin.max_concurrent("/a.bin") > 1


def test_headers_and_cookies_go_with_every_range(direct: Direct, origin: Origin) -> None:
    respond = does.then(
        does.needs_header("Cookie", "id=1"),
        does.needs_header("X-Key", "kü".encode().decode("latin-1")),
    )
    file = serve(origin, respond=respond)
    assert direct.failure(file.url, cookies="id=1") == "http_403"

    direct.fetch(file.url, cookies="id=1", headers={"X-Key": "kü", "User-Agent": "mine"})

    assert direct.data == file.body_slice(0, SIZE)
    assert {one.headers["user-agent"] for one in origin.requests[2:]} == {"mine"}


def test_a_netrc_names_the_login_of_its_host(
    tmp_path: Path, direct: Direct, origin: Origin
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login ada password pass\n")
    direct.options = replace(QUICK, netrc=netrc)
    file = serve(origin, respond=does.needs_login("ada", "pass"))

    direct.fetch(file.url)

    assert direct.data == file.body_slice(0, SIZE)


def test_a_proxy_sees_every_request_in_the_clear(direct: Direct, origin: Origin) -> None:
    file = serve(origin)
    with HttpProxy() as proxy:
        direct.options = replace(QUICK, proxy=proxy.url)
        direct.fetch(file.url)
        seen = [(one.method, one.target) for one in proxy.passed]
    assert direct.data == file.body_slice(0, SIZE)
    assert set(seen) == {("GET", file.url)}
    assert len(seen) == len(origin.requests) > 1


def test_a_proxy_sees_nothing_of_what_goes_through_tls(
    direct: Direct, origin: Origin, authority: Authority
) -> None:
    file = serve(origin)
    with TlsFront(origin.port, authority.issue("127.0.0.1")) as front, HttpProxy() as proxy:
        direct.options = replace(QUICK, proxy=proxy.url, ca_file=authority.ca_file)
        direct.fetch(front.url("/a.bin"), headers={"X-Key": "secret"}, username="a", password="b")
        seen = proxy.passed
    assert direct.data == file.body_slice(0, SIZE)
    assert {one.method for one in seen} == {"CONNECT"}
    assert all({"x-key", "authorization"}.isdisjoint(one.headers) for one in seen)


def test_a_proxy_on_a_private_address_is_spoken_to_and_asked_for_no_other(
    direct: Direct, origin: Origin
) -> None:
    """It was named by who runs the service; where it leads to, strangers name."""
    public = serve(origin, redirect="http://10.0.0.1/a.bin")
    with HttpProxy() as proxy:
        direct.options = replace(QUICK, proxy=proxy.url)
        direct.networks = ("127.0.0.1",)
        assert direct.failure(public.url) == "forbidden_address"
        assert [one.target for one in proxy.passed] == [public.url]
        direct.networks = ()
        assert direct.failure(public.url) == "forbidden_address"
        assert len(proxy.passed) == 1


def test_a_proxy_that_is_not_there(direct: Direct, origin: Origin, free_port: int) -> None:
    direct.options = replace(QUICK, proxy=f"http://127.0.0.1:{free_port}")
    assert direct.failure(serve(origin).url) == "connect"


# ── mirrors ─────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def mirror() -> Iterator[Origin]:
    """Another origin of the same file."""
    with Origin() as origin:
        yield origin


def test_pieces_come_from_every_mirror_that_agrees(
    direct: Direct, origin: Origin, mirror: Origin
) -> None:
    file, copy = serve(origin), serve(mirror)

    direct.fetch(file.url, copy.url)

    assert direct.data == file.body_slice(0, SIZE)
    assert sum(one.bytes_sent for one in mirror.requests) > 100_000


DISAGREEING = {
    "another tag": {"etag": '"2"'},
    "no tag": {"etag": None},
    "no ranges": {"ranges": False},
    "not found": {"status": 404},
    "down": {"status": 503},
    "resetting": {"reset_after": 0},
    "lying about its range": {
        "respond": does.content_range(
            lambda first, last, total: f"bytes {first + 1}-{last}/{total}"
        )
    },
    "redirecting in a circle": {"redirect": "/a.bin"},
    "redirecting to a private address": {"redirect": "http://10.0.0.1/a.bin"},
}


@pytest.mark.parametrize("behaviour", DISAGREEING.values(), ids=DISAGREEING)
def test_a_mirror_that_does_not_agree_is_left_out(
    direct: Direct, origin: Origin, mirror: Origin, behaviour: dict[str, object]
) -> None:
    file = serve(origin)
    other = mirror.serve("/a.bin", size=SIZE, seed="not the file", **behaviour)  # type: ignore[arg-type]

    direct.fetch(file.url, other.url)

    assert direct.data == file.body_slice(0, SIZE)
    assert any("mirror" in note for note in direct.notes)
    assert len(mirror.requests) <= 18  # three connections, with all the redirects allowed


def test_a_mirror_of_another_size_is_left_out(
    direct: Direct, origin: Origin, mirror: Origin
) -> None:
    file = serve(origin)
    other = mirror.serve("/a.bin", size=SIZE - 1, etag='"1"')

    direct.fetch(file.url, other.url)

    assert direct.data == file.body_slice(0, SIZE)


@pytest.mark.parametrize(
    "behaviour", [{"status": 404}, {"status": 503}, {"hang_after": 0}], ids=str
)
def test_a_mirror_takes_over_from_the_first_url(
    direct: Direct, origin: Origin, mirror: Origin, behaviour: dict[str, object]
) -> None:
    direct.options = replace(QUICK, low_speed_time=1)
    gone = serve(origin, **behaviour)  # type: ignore[arg-type]
    copy = serve(mirror)

    direct.fetch(gone.url, copy.url)

    assert direct.data == copy.body_slice(0, SIZE)


def test_what_was_given_for_the_first_url_does_not_go_to_a_mirror(
    direct: Direct, origin: Origin, mirror: Origin
) -> None:
    file, copy = serve(origin), serve(mirror)

    direct.fetch(
        file.url, copy.url, headers={"X-Key": "k"}, cookies="c", username="a", password="b"
    )

    assert mirror.requests
    for one in mirror.requests:
        assert {"x-key", "cookie", "authorization"}.isdisjoint(one.headers)
