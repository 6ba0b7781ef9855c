"""Answers that are not those of the API are refused with a sentence; the key stays with the service."""

from __future__ import annotations

import json
import traceback
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from seen_client import (
    AsyncClient,
    Client,
    InvalidRequestError,
    ProblemError,
    ServerError,
    UnexpectedAnswerError,
)
from tests.integration.client.conftest import Serve
from tests.support.clients.both import client_of
from tests.support.clients.samples import ID, download_json
from tests.support.clients.scripted_service import Reaction, Reply, json_reply

KEY = "seen_ab12cd34_verysecret"


def _download(**changes: Any) -> Reaction:
    return json_reply(download_json(**changes))


def _raw(text: str) -> Reaction:
    return bytes(Reply(text.encode()))


def _without(name: str) -> Reaction:
    content = download_json()
    del content[name]
    return json_reply(content)


HOSTILE: dict[str, tuple[Reaction, str]] = {
    "HTML": (bytes(Reply(b"<html>", content_type="text/html")), "text/html"),
    "no content type": (bytes(Reply(b"{}", content_type="")), "no content type"),
    "no JSON": (_raw("{"), "not valid JSON"),
    "nothing": (_raw(""), "not valid JSON"),
    "no UTF-8": (bytes(Reply(b'"\xff"')), "not valid JSON"),
    "NaN": (_raw('{"speed_mbps": NaN}'), "NaN is no JSON"),
    "a list": (json_reply([]), "the answer is not as documented"),
    "deep": (_raw("[" * 100_000), "not valid JSON"),
    "a number of many digits": (_raw('{"id": ' + "9" * 5000 + "}"), "not valid JSON"),
    "no id": (_without("id"), "answer.id is missing"),
    "no time": (_without("created_at"), "answer.created_at is missing"),
    "a number as id": (_download(id=5), "answer.id is not"),
    "true as a number": (_download(attempts=True), "answer.attempts is not"),
    "a number as true": (_download(decode=1), "answer.decode is not"),
    "infinite": (_raw(json.dumps(download_json(speed_mbps=8)).replace("8", "1e999")), "not"),
    "too large to be a float": (_download(speed_mbps=10**400), "answer.speed_mbps is not"),
    "no time at all": (_download(created_at="yesterday"), "answer.created_at is not"),
    "a time of no zone": (_download(created_at="2026-01-01T00:00:00"), "answer.created_at is not"),
    "a text as list": (_download(mirrors="abc"), "answer.mirrors is not"),
    "a number in a list": (_download(mirrors=["a", 5]), r"answer.mirrors\[1\] is not"),
    "null": (_download(url=None), "answer.url is not"),
    "compressed": (bytes(Reply(b"{}", headers={"Content-Encoding": "gzip"})), "compressed"),
    "204 to a question": (bytes(Reply(status=204)), "not valid JSON"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_answers(serve: Serve, kind: str, name: str) -> None:
    reaction, expected = HOSTILE[name]
    service = serve(lambda _: reaction)
    with (
        client_of(kind, service.url, KEY) as client,
        pytest.raises(UnexpectedAnswerError, match=expected) as caught,
    ):
        client.show(ID)
    assert len(service.requests) == 1
    text = str(caught.value)
    assert len(text) < 500
    assert text.isprintable()


def test_a_huge_answer_is_not_kept(serve: Serve, kind: str) -> None:
    def endless() -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"
        for _ in range(10_000):
            yield b" " * 65536

    service = serve(lambda _: endless())
    with (
        client_of(kind, service.url, max_answer_bytes=1_000_000) as client,
        pytest.raises(UnexpectedAnswerError, match="more than 1,000,000 bytes"),
    ):
        client.show(ID)


def _always(reply: Reply, _received: object) -> bytes:
    return bytes(reply)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"<html>", "text/html"),
        (b"{", "application/problem+json"),
        (b"[]", "application/problem+json"),
        (b'{"status": "x"}', "application/problem+json"),
        (b" " * 2_000_000, "application/problem+json"),
        (b"\xff", "application/problem+json"),
        (b"", ""),
    ],
)
def test_problems_without_details(serve: Serve, kind: str, body: bytes, content_type: str) -> None:
    """What has failed is known from the status all the same."""
    for status, error in ((500, ServerError), (418, InvalidRequestError), (599, ServerError)):
        service = serve(partial(_always, Reply(body, status, content_type)))
        with client_of(kind, service.url, KEY) as client, pytest.raises(error) as caught:
            client.show(ID)
        assert isinstance(caught.value, ProblemError)
        assert (caught.value.code, caught.value.status) == (f"http_{status}", status)
        assert str(status) in caught.value.detail


def test_a_problem_cannot_write_to_a_terminal(serve: Serve, kind: str) -> None:
    content = dict.fromkeys(("type", "title", "detail", "code"), "a\x1b[2Jb\r\nc\x9b")
    body = json.dumps({**content, "status": 5, "instance": "/", "errors": None}).encode()
    service = serve(lambda _: bytes(Reply(body, 422, "application/problem+json")))
    with client_of(kind, service.url, KEY) as client, pytest.raises(InvalidRequestError) as caught:
        client.show(ID)
    assert caught.value.status == 422
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
def test_the_key_goes_to_no_other_origin(serve: Serve, kind: str, status: int) -> None:
    """A client of one's own that follows redirects does not, here."""
    other = serve(lambda _: json_reply(download_json()))
    headers = {"Location": f"{other.url}/v1/downloads/{ID}"}
    service = serve(lambda _: bytes(Reply(status=status, headers=headers)))
    with client_of(kind, service.url, KEY, follow_redirects=True) as client:
        for call in (client.show, client.retry, lambda one: next(client.events(one))):
            with pytest.raises(UnexpectedAnswerError, match="redirects to"):
                call(ID)
    assert other.requests == []


def test_no_cookie_is_sent_back(serve: Serve, kind: str) -> None:
    headers = {"Set-Cookie": "seen_session=other; Path=/"}
    body = json.dumps(download_json()).encode()
    service = serve(lambda _: bytes(Reply(body, headers=headers)))
    with client_of(kind, service.url, KEY) as client:
        client.show(ID)
        client.show(ID)
    assert all("cookie" not in one.headers for one in service.requests)
    assert service.requests[1].headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("make", [Client, AsyncClient])
@pytest.mark.parametrize(
    ("url", "key"),
    [
        *((url, KEY) for url in ("", "localhost:1", "ftp://a", "http://", "http://u:p@a", "http:")),
        *((url, KEY) for url in ("http://a?x=1", "http://a#x", "http://a:x", "http://a\nb")),
        *(("http://a", key) for key in ("", "a b", "a\r\nX: y", "ä", "a" * 5000, "a\x00")),
    ],
)
def test_wrong_arguments_are_refused_without_the_key(
    make: type[Client] | type[AsyncClient], url: str, key: str
) -> None:
    with pytest.raises(ValueError, match=r"address of the service|key is") as caught:
        make(url, key)
    shown = "".join(traceback.format_exception_only(caught.value))
    assert KEY not in shown
    assert key == "" or key not in shown


def test_the_key_is_not_shown(kind: str) -> None:
    with Client("http://127.0.0.1:9/prefix/", KEY) as client:
        assert repr(client) == "Client('http://127.0.0.1:9/prefix')"
        assert KEY not in repr(client._service)
