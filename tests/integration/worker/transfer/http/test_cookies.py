"""Cookies that an origin sets on the way to the file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.origins.behaviour import Plan, Request, plan_error
from tests.support.origins.misbehaviour import Respond
from tests.support.origins.origin import Origin
from tests.support.services.transferring import Direct

BODY = b"0123456789" * 1000


@pytest.fixture
def elsewhere() -> Iterator[Origin]:
    """An origin under another host name."""
    with Origin() as origin:
        yield origin


def wall(*set_cookies: str, needs: str = "pass=1", then: str = "") -> Respond:
    """Redirect requests without a cookie, to the same URL unless `then` names another one."""

    def respond(request: Request, plan: Plan) -> Plan:
        if needs in request.headers.get("cookie", "").split("; "):
            return plan
        answer = plan_error(302)
        answer.headers["Location"] = then or request.target
        for number, value in enumerate(set_cookies):
            # Names of fields differ by case only where there are several cookies.
            answer.headers["Set-Cookie" if number == 0 else "set-cookie"] = value
        return answer

    return respond


@pytest.mark.parametrize(
    "cookies",
    [["pass=1"], ["pass=1; Path=/"], ["a=b", "pass=1"], ["pass=1; Max-Age=60; HttpOnly"]],
    ids=lambda value: ", ".join(value),
)
def test_cookie_wall_is_passed(direct: Direct, origin: Origin, cookies: list[str]) -> None:
    direct.fetch(origin.serve("/a.bin", body=BODY, respond=wall(*cookies)).url)
    assert direct.data == BODY


@pytest.mark.parametrize(
    "cookie",
    ["pass=1; Domain=example.org", "pass=1; Domain=.invalid", "pass=1; Path=/x"],
)
def test_cookie_for_another_place_is_not_sent(direct: Direct, origin: Origin, cookie: str) -> None:
    file = origin.serve("/a.bin", body=BODY, respond=wall(cookie))
    assert direct.failure(file.url) == "too_many_redirects"
    assert all("cookie" not in one.headers for one in origin.requests)


def test_every_connection_sends_the_cookie(direct: Direct, origin: Origin) -> None:
    file = origin.serve(
        "/a.bin", size=1_000_000, bytes_per_second=2_000_000, respond=wall("pass=1")
    )
    direct.fetch(file.url)
    assert direct.data == file.body_slice(0, file.size)
    ranges = [one for one in origin.requests if one.status == 206]
    assert len(ranges) > 1
    assert {one.headers["cookie"] for one in ranges} == {"pass=1"}


def test_cookie_goes_to_no_other_host(direct: Direct, origin: Origin, elsewhere: Origin) -> None:
    far = elsewhere.serve("/a.bin", body=BODY)
    target = f"http://localhost:{elsewhere.port}/a.bin"
    file = origin.serve("/a.bin", body=b"", respond=wall("pass=1", then=target))
    direct.networks = ("127.0.0.0/8", "::1/128")
    direct.fetch(file.url)
    assert direct.data == BODY
    assert "cookie" not in elsewhere.requests_for(far.path)[0].headers


def test_cookies_of_one_transfer_are_not_known_to_the_next(direct: Direct, origin: Origin) -> None:
    file = origin.serve("/a.bin", body=BODY, respond=wall("pass=1"))
    direct.fetch(file.url)
    direct.part.unlink()
    direct.fetch(file.url)
    assert [one.headers.get("cookie") for one in origin.requests] == [None, "pass=1"] * 2


def test_given_cookies_go_along_with_those_of_the_origin(direct: Direct, origin: Origin) -> None:
    file = origin.serve("/a.bin", body=BODY, respond=wall("pass=1"))
    direct.fetch(file.url, cookies="mine=2")
    first, second = (one.headers["cookie"] for one in origin.requests)
    assert first == "mine=2"
    assert set(second.split("; ")) == {"mine=2", "pass=1"}
