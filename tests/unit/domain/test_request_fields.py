"""What goes along with a request: what is refused and why, and that nothing shows what is secret."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from domain.cookies import Cookie
from domain.errors import InvalidInputError
from domain.request import DownloadRequest
from tests.support.build import new_job

URL = "https://example.com/film.mkv"
SECRET = "hunter2"


def test_a_request_keeps_what_goes_along() -> None:
    request = DownloadRequest(
        url=URL,
        mirrors=("http://b.example/x", URL, "http://b.example/x", "ftp://c.example/x"),
        headers={"X-Api-Key": " k ", "authorization": "Bearer t", "X-Empty": ""},
        cookies=" a=b; c=d ",
        max_bytes=5_000_000_000,
        connections=32,
        decode=True,
    )
    assert request.mirrors == ("http://b.example/x", "ftp://c.example/x")
    assert request.headers == {"X-Api-Key": "k", "authorization": "Bearer t", "X-Empty": ""}
    assert request.cookies == "a=b; c=d"
    assert DownloadRequest(url=URL, username="me", password="").password == ""


@pytest.mark.parametrize(
    ("name", "says"),
    [
        *(
            (name, "message framing")
            for name in ("Host", "content-length", "TRANSFER-ENCODING", "TE")
        ),
        *((name, "message framing") for name in ("Connection", "Trailer", "Upgrade", "Expect")),
        *((name, "ranges") for name in ("Range", "If-Range", "If-None-Match")),
        ("Accept-Encoding", "decode"),
        ("Proxy-Authorization", "SEEN_PROXY"),
        ("Cookie", "--cookie"),
        ("", "letters"),
        ("X:Y", "letters"),
        ("X-Ü", "letters"),
        ("X\r\nY", "letters"),
        ("x" * 101, "letters"),
    ],
)
def test_a_header_that_cannot_be_given_says_why(name: str, says: str) -> None:
    with pytest.raises(InvalidInputError, match=says) as caught:
        DownloadRequest(url=URL, headers={name: SECRET})
    assert caught.value.field == "headers"
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        *(
            ("headers", {"headers": {"X-Key": f"{SECRET}{wrong}"}})
            for wrong in ("\r\nX: y", "\n", "\0", "\x7f", "\t.", "ü", "x" * 16_000, "x" * 11_000)
        ),
        ("headers", {"headers": {"X-Key": SECRET, "x-key": SECRET}}),
        ("headers", {"headers": {f"X-{number}": SECRET for number in range(51)}}),
        ("headers", {"headers": {f"{SECRET} meant as a value": ""}}),
        ("headers", {"headers": {f"X-Key={SECRET}": "after a colon"}}),
        ("headers", {"headers": {f"Authorization:{SECRET}": ""}}),
        ("headers", {"headers": SECRET}),
        ("headers", {"headers": {SECRET: 5}}),
        ("cookies", {"cookies": f"{SECRET}\r\nX: y"}),
        ("cookies", {"cookies": f"a={SECRET}" + "x" * 8_000}),
        ("cookies", {"cookies": ""}),
        ("cookie_jar", {"cookie_jar": [Cookie(pair=SECRET)]}),
        ("cookie_jar", {"cookie_jar": [Cookie(pair=f"{SECRET}\r\n", domain="a.org")]}),
        ("cookie_jar", {"cookie_jar": [Cookie(pair=f"{SECRET}; b=c", domain="a.org")]}),
        ("cookie_jar", {"cookie_jar": [Cookie(pair=SECRET, domain="a.org")] * 1000}),
        ("cookie_jar", {"cookie_jar": SECRET}),
        ("cookie_jar", {"cookie_jar": [{"pair": 1, "domain": SECRET}]}),
        ("username", {"username": f"{SECRET}:x"}),
        ("username", {"username": ""}),
        ("username", {"username": f"{SECRET}\n"}),
        ("username", {"username": SECRET, "headers": {"authorization": SECRET}}),
        ("password", {"username": "me", "password": f"{SECRET}\r"}),
        ("password", {"username": "me", "password": SECRET + "x" * 1_000}),
        ("password", {"username": "me", "password": f"{SECRET}\ud800"}),
        ("password", {"username": "me", "password": [SECRET]}),
        ("password", {"password": SECRET}),
        ("pasword", {"username": "me", "pasword": SECRET}),
    ],
)
def test_a_refusal_names_the_field_and_shows_no_value(field: str, fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError) as caught:
        DownloadRequest(**{"url": URL, **fields})
    assert caught.value.field == field
    assert SECRET not in str(caught.value)
    assert caught.value.remedy


def test_a_request_shows_no_secret_and_still_is_what_it_is() -> None:
    fields: dict[str, Any] = {
        "url": URL,
        "headers": {"X-Key": SECRET},
        "username": f"me-{SECRET}",
        "password": SECRET,
        "cookies": f"a={SECRET}",
    }
    request = DownloadRequest(**fields)
    assert SECRET not in f"{request!r} {request} {request.model_dump()} {request.model_dump_json()}"
    assert request == pickle.loads(pickle.dumps(request))
    assert len({request, DownloadRequest(**fields)}) == 1
    for other in ({"headers": {"X-Key": "x"}}, {"password": "x"}, {"cookies": "x"}):
        assert DownloadRequest(**(fields | other)) != request


def test_a_job_shows_the_names_of_its_stored_fields() -> None:
    job = new_job(secrets="X-Key,password gAAAA")
    assert job.secret_names == ("X-Key", "password")
    assert "gAAAA" not in repr(job)
    assert new_job().secret_names == ()
