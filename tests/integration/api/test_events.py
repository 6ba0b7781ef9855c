"""The streams of events over HTTP: who sees what, connecting again, ends."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import httpx
import pytest

import tasks
from api import server
from api.events import stream
from domain.access import Principal
from tasks.api import accounts
from tests.support.services import operations
from tests.support.services.http_api import HttpApi
from tests.support.wait import wait_until

SECRET_URL = "http://127.0.0.1:9/f.bin?token=hush-hush"


def events_of(answer: httpx.Response) -> Iterator[tuple[str, str, Any]]:
    """Yield id, kind and data of each event; comments have none."""
    fields: dict[str, str] = {}
    for line in answer.iter_lines():
        if line and not line.startswith(":"):
            name, _, value = line.partition(": ")
            fields[name] = value
        elif fields:
            yield fields["id"], fields["event"], json.loads(fields["data"])
            fields = {}


def first_with(answer: httpx.Response, job_id: str) -> dict[str, Any]:
    """Return the first download with this id that an event has."""
    for _, _, data in events_of(answer):
        for download in data["downloads"]:
            if download["id"] == job_id:
                return dict(download)
    raise AssertionError("the stream has ended")


def test_snapshot_and_changes(api: HttpApi) -> None:
    job = api.job_of("ada", "watched.bin")
    with api.client("ada").stream("GET", "/v1/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-store"
        events = events_of(answer)
        _, kind, data = next(events)
        assert kind == "snapshot"
        assert job.id in [one["id"] for one in data["downloads"]]
        tasks.pause(job.id, runtime=api.system.runtime)
        _, kind, data = next(events)
        assert (kind, data["downloads"][0]["status"], data["removed"]) == ("changed", "paused", [])


@pytest.mark.parametrize(
    ("user", "sees"), [("root", "whole"), ("ada", "whole"), ("eve", "nothing"), ("vic", "masked")]
)
def test_who_sees_what(api: HttpApi, user: str, sees: str) -> None:
    """In the snapshot, in a change, and in the stream of one download."""
    with api.client(user).stream("GET", "/v1/events") as answer:
        events = events_of(answer)
        next(events)
        job = api.system.submit(SECRET_URL + user, user_id="ada")
        own = api.job_of(user, f"own-{user}")
        seen: dict[str, Any] = {}
        while own.id not in seen:
            _, _, data = next(events)
            seen |= {one["id"]: one for one in data["downloads"]}
    of_one = api.client(user).stream("GET", f"/v1/downloads/{job.id}/events")
    if sees == "nothing":
        assert job.id not in seen
        with of_one as answer:
            assert answer.status_code == 404
        return
    with of_one as answer:
        alone = first_with(answer, job.id)
    for shown in (seen[job.id], alone):
        assert ("hush-hush" in shown["url"]) == (sees == "whole")


def test_connecting_again_with_the_last_id(api: HttpApi) -> None:
    client = api.client("ada")
    with client.stream("GET", "/v1/events") as other:
        others = events_of(other)
        next(others)
        job = api.job_of("ada", "again.bin")
        last_id, kind, _ = next(others)
        tasks.pause(job.id, runtime=api.system.runtime)
        next(others)
        headers = {"Last-Event-ID": last_id}
        with client.stream("GET", "/v1/events", headers=headers) as answer:
            _, kind, data = next(events_of(answer))
            assert kind == "changed"
            assert data["downloads"][0]["status"] == "paused"


@pytest.mark.parametrize("state", ["queued", "paused", "running"])
def test_another_priority_is_sent_in_each_state(api: HttpApi, state: str) -> None:
    client, runtime = api.client("ada"), api.system.runtime
    with client.stream("GET", "/v1/events") as answer:
        events = events_of(answer)
        next(events)
        job = api.job_of("ada", f"moved-{state}.bin")
        if state == "paused":
            tasks.pause(job.id, runtime=runtime)
        if state == "running":
            operations.claim(runtime.jobs, job.id, worker="w", now=runtime.now())
        status = {"running": "downloading"}.get(state, state)
        _until(events, job.id, "status", status)
        api.client("ada").patch(f"/v1/downloads/{job.id}", json={"priority": "high"})
        _until(events, job.id, "priority", "high")


def _until(events: Iterator[tuple[str, str, Any]], job_id: str, field: str, value: str) -> None:
    """Read events until one says this of a job; the stream has a comment every 15 s at least."""
    for _, _, data in events:
        if any(one["id"] == job_id and one.get(field) == value for one in data["downloads"]):
            return
    raise AssertionError("the stream has ended")


def test_stream_of_a_revoked_key_ends(api: HttpApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "_CHECK_INTERVAL", 0.05)
    monkeypatch.setattr(stream, "HEARTBEAT", 0.05)
    key = api.new_key("ada")
    headers = {"Authorization": f"Bearer {key}"}
    with api.new_client(headers=headers) as client, client.stream("GET", "/v1/events") as answer:
        events = events_of(answer)
        next(events)
        prefix = key.split("_")[1]
        accounts.revoke_key(Principal.local(), prefix, runtime=api.system.runtime)
        assert list(events) == []


def test_client_that_has_gone_is_forgotten(api: HttpApi) -> None:
    with (
        api.new_client(headers=api.headers("ada")) as client,
        client.stream("GET", "/v1/events") as answer,
    ):
        next(events_of(answer))
    wait_until(lambda: api.hub.watchers == 0)


def test_client_that_reads_nothing_is_ended(api: HttpApi, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system ends it: neither memory nor a task is kept for it without end."""
    monkeypatch.setattr(server, "UNREAD_SECONDS", 1)
    body = "x" * 100_000
    with closing(socket.socket()) as opened:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        opened.connect(("127.0.0.1", api.port))
        opened.sendall(
            f"GET /v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            f"Authorization: Bearer {api.keys['ada']}\r\n\r\n".encode()
        )
        wait_until(lambda: api.hub.watchers == 1)
        deadline = time.monotonic() + 40
        number = 0
        while api.hub.watchers and time.monotonic() < deadline:
            for _ in range(20):
                number += 1
                api.job_of("ada", f"{number}/{body[:1500]}")
        assert api.hub.watchers == 0


def test_wrong_limit_is_refused(api: HttpApi) -> None:
    for limit in ("0", "501", "x"):
        assert api.client("ada").get(f"/v1/events?limit={limit}").status_code == 422


#: Streams that are opened at once, the caps for one user and for all, and how many are open then.
CAPS = {
    "of one user": (["ada"] * 30, 7, 100, 7),
    "of all users": (["ada", "eve", "vic"] * 10, 100, 8, 8),
    "of both": (["ada"] * 20 + ["eve"] * 10, 5, 12, 10),
    "of one": (["ada"] * 10, 1, 1, 1),
}


@pytest.mark.parametrize("what", CAPS)
def test_caps_are_exact_however_many_open_streams_at_once(
    api: HttpApi, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Also again after all have gone: none stays counted, of the refused ones neither."""
    users, most_of_one, most, expected = CAPS[what]
    monkeypatch.setattr(api.hub, "_most", most)
    monkeypatch.setattr(api.hub, "_most_of_one", most_of_one)
    wait_until(lambda: api.hub.watchers == 0, deadline=30)
    for _ in range(2):
        refusals = asyncio.run(_open_all(api, users, expected))
        assert len(refusals) == len(users) - expected
        assert {one.status_code for one in refusals} == {429}
        assert {one.headers["content-type"] for one in refusals} == {"application/problem+json"}
        assert all(int(one.headers["retry-after"]) >= 1 for one in refusals)
        wait_until(lambda: api.hub.watchers == 0, deadline=30)


async def _open_all(api: HttpApi, users: list[str], expected: int) -> list[httpx.Response]:
    """Open a stream for each, keep them open until the last is answered, and return the refusals."""
    async with httpx.AsyncClient(base_url=api.url, timeout=60, limits=httpx.Limits()) as client:

        async def answer(user: str) -> httpx.Response:
            request = client.build_request("GET", "/v1/events", headers=api.headers(user))
            return await client.send(request, stream=True)

        answers = await asyncio.gather(*map(answer, users))
        streams = [one for one in answers if one.status_code == 200]
        readers = [one.aiter_bytes() for one in streams]  # a reader that is dropped ends its stream
        for reader in readers:
            assert (await anext(reader)).startswith(b"id: ")
        assert (len(streams), api.hub.watchers) == (expected, expected)
        for one in answers:
            await one.aclose()
        return [one for one in answers if one not in streams]


def test_clients_that_leave_at_once_are_forgotten(api: HttpApi) -> None:
    request = (
        f"GET /v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {api.keys['ada']}"
    )
    for _ in range(30):
        with closing(socket.create_connection(("127.0.0.1", api.port))) as opened:
            opened.sendall(f"{request}\r\n\r\n".encode())
    with api.client("ada").stream("GET", "/v1/events") as answer:
        events = events_of(answer)
        next(events)
        wait_until(lambda: api.hub.watchers == 1, deadline=30)
