"""Events by both clients: on the real API, and on streams that break, are silent or lie."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import pytest

from domain.ids import new_job_id
from seen_client import (
    AuthenticationError,
    Changed,
    Client,
    NoAnswerError,
    NotFoundError,
    Snapshot,
    Status,
    UnexpectedAnswerError,
    repeating,
)
from seen_client.operations import watching
from tests.integration.client.conftest import Serve
from tests.support.clients.both import client_of
from tests.support.clients.samples import ID, download_json
from tests.support.clients.scripted_service import (
    Hang,
    Reaction,
    Received,
    Reply,
    json_reply,
    problem_reply,
)

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"


def event(kind: str, event_id: str, downloads: list[Any], removed: Iterable[str] = ()) -> bytes:
    """An event as the service sends it."""
    data = json.dumps({"downloads": downloads, "removed": list(removed)})
    return f"id: {event_id}\nevent: {kind}\ndata: {data}\n\n".encode()


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeating, "_FIRST_PAUSE", 0.002)


def test_snapshot_and_changes_of_the_api(client: Client) -> None:
    job = client.submit(f"https://example.org/{new_job_id()}").id
    for events, act in ((client.events(), client.pause), (client.events(job), client.cancel)):
        snapshot = next(events)
        assert isinstance(snapshot, Snapshot)
        assert job in {one.id for one in snapshot.downloads}
        status = act(job).status
        changes = (change for one in events if isinstance(one, Changed) for change in one.changes)
        found = next(one for one in changes if one.fields.get("status") == status)
        assert found.id == job
        assert found.download is not None
        assert found.download.status == status
        events.close()


def test_a_stream_that_breaks_is_continued(serve: Serve, kind: str) -> None:
    """In the middle of an event, after whole ones, by a refusal: nothing is missed or doubled."""
    first, second = download_json(status="downloading"), {"id": ID, "bytes_downloaded": 5}
    third = {"id": ID, "bytes_downloaded": 9, "status": "completed"}
    answers: dict[int, Reaction] = {
        1: HEAD + event("snapshot", "a-1", [first]) + event("changed", "a-2", [second])[:-9],
        2: problem_reply(503, Retry_After="0"),
        3: b"",
        4: HEAD + b": still connected\n\n",
        5: HEAD + event("changed", "a-2", [second]) + event("unknown", "a-3", []),
        6: Hang(HEAD + event("changed", "a-4", [third], [ID])),
    }
    service = serve(lambda received: answers[received.number])
    with client_of(kind, service.url) as client:
        events = client.events()
        found = [next(events) for _ in range(3)]
        events.close()
    assert [type(one) for one in found] == [Snapshot, Changed, Changed]
    assert [one.event_id for one in found] == ["a-1", "a-2", "a-4"]
    downloads = [one.changes[0].download for one in found[1:] if isinstance(one, Changed)]
    assert [one and (one.bytes_downloaded, one.status) for one in downloads] == [
        (5, "downloading"),
        (9, "completed"),
    ]
    sent = [one.headers.get("last-event-id") for one in service.requests]
    assert sent == [None, "a-1", "a-1", "a-1", "a-1", "a-3"]


def test_changes_of_a_download_that_is_not_known(serve: Serve, kind: str) -> None:
    """Differences alone are no download; a new snapshot ends what was known."""
    running = download_json(status="verifying")
    stream = [
        *(event("snapshot", "a-1", []), event("changed", "a-2", [{"id": ID, "attempts": 2}])),
        *(event("changed", "a-3", [running]), event("changed", "a-4", [{"id": ID, "attempts": 3}])),
        *(event("snapshot", "a-5", []), event("changed", "a-6", [{"id": ID, "attempts": 4}])),
    ]
    service = serve(lambda _: Hang(HEAD + b"".join(stream)))
    with client_of(kind, service.url) as client:
        events = client.events()
        found = [next(events) for _ in stream]
        events.close()
    known = [one.changes[0].download for one in found if isinstance(one, Changed)]
    assert [one and one.attempts for one in known] == [None, running["attempts"], 3, None]


def test_a_silent_stream_is_opened_again(serve: Serve, kind: str) -> None:
    snapshot = event("snapshot", "a-1", [])
    service = serve(lambda received: Hang(HEAD + (snapshot if received.number > 1 else b"")))
    with client_of(kind, service.url) as client:
        events = client.events(silence=0.3)
        assert isinstance(next(events), Snapshot)
        events.close()
    assert len(service.requests) >= 2


def test_a_service_that_is_gone_is_given_up(
    serve: Serve, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses = iter([0.0, 0.0, 61.0])
    monkeypatch.setattr(watching, "pause_after", lambda *_: next(pauses))
    answers: dict[int, Reaction] = {1: HEAD + event("snapshot", "a-1", [])}
    service = serve(lambda received: answers.get(received.number, b""))
    with client_of(kind, service.url) as client, pytest.raises(NoAnswerError):
        list(client.events(give_up_after=60))
    assert len(service.requests) == 3


def _next(answers: Iterator[Reaction], _received: object) -> Reaction:
    return next(answers)


@pytest.mark.parametrize(("status", "error"), [(401, AuthenticationError), (404, NotFoundError)])
def test_what_will_not_get_better_is_raised(
    serve: Serve, kind: str, status: int, error: type[Exception]
) -> None:
    """At the first connection, and at a later one, such as for a key that was revoked."""
    for first in (problem_reply(status), HEAD + event("snapshot", "a-1", [])):
        answers = iter([first, problem_reply(status)])
        service = serve(partial(_next, answers))
        with client_of(kind, service.url) as client, pytest.raises(error):
            list(client.events(ID))


LYING = {
    "another content type": json_reply({}),
    "no JSON": HEAD + b"event: snapshot\ndata: {\n\n",
    "another JSON": HEAD + b"event: snapshot\ndata: []\n\n",
    "a download that is none": HEAD + event("snapshot", "a", [{"id": 5}]),
    "a change without id": HEAD + event("changed", "a", [{"status": "queued"}]),
    "wrong removals": HEAD + event("changed", "a", [], "x").replace(b'["x"]', b"[5]"),
    "no UTF-8": HEAD + b"event: snapshot\ndata: \xff\xfe\n\n",
    "compressed": HEAD.replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n") + b"x",
}


@pytest.mark.parametrize("name", LYING)
def test_what_is_no_stream_of_events_is_raised(serve: Serve, kind: str, name: str) -> None:
    service = serve(lambda _: LYING[name])
    with client_of(kind, service.url) as client, pytest.raises(UnexpectedAnswerError):
        next(client.events())
    assert len(service.requests) == 1


@pytest.mark.parametrize("part", [b"x", b"data: x\n", b": x\n", b"id: x\n", b"\xff"])
def test_an_endless_event_is_given_up(serve: Serve, kind: str, part: bytes) -> None:
    """A line, or an event of many lines, of 100 MB; the client keeps no more than it may."""
    sent = 0

    def endless() -> Iterable[bytes]:
        nonlocal sent
        yield HEAD
        while sent < 100_000_000:
            sent += 65536
            yield part * (65536 // len(part))

    service = serve(lambda _: endless())
    with (
        client_of(kind, service.url, max_answer_bytes=200_000) as client,
        pytest.raises(UnexpectedAnswerError, match="more than 200,000 bytes"),
    ):
        next(client.events())
    assert sent < 50_000_000


def test_wait_bears_streams_that_do_not_work(serve: Serve, kind: str) -> None:
    """A proxy that passes no events on: the download is looked at again."""
    shows = 0

    def react(received: Received) -> Reaction:
        nonlocal shows
        if received.target.endswith("/events"):
            return (problem_reply(429), HEAD, b"")[received.number % 3]
        shows += 1
        return json_reply(download_json(status="completed" if shows == 5 else "queued"))

    service = serve(react)
    with client_of(kind, service.url) as client:
        assert client.wait(ID, timeout=60).status is Status.COMPLETED
    assert shows == 5


def test_unknown_content_of_a_newer_service_is_borne(serve: Serve, kind: str) -> None:
    newer = download_json(status="thawing", priority="urgent", colour={"deep": [1]})
    stream = HEAD + event("snapshot", "b", [newer]) + event("changed", "c", [{"id": ID, "x": 1}])
    service = serve(lambda received: Hang(stream) if "events" in received.target else _json(newer))
    with client_of(kind, service.url) as client:
        shown = client.show(ID)
        assert (shown.status, shown.priority, shown.has_ended) == ("thawing", "urgent", False)
        events = client.events()
        assert isinstance(next(events), Snapshot)
        changed = next(events)
        assert isinstance(changed, Changed)
        assert changed.changes[0].fields["x"] == 1
        events.close()


def _json(content: Any) -> bytes:
    return bytes(Reply(json.dumps(content).encode()))
