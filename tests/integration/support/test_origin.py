"""The test origin does what it says, right and wrong: the tests of transfers stand on it."""

from __future__ import annotations

import hashlib
import http.client
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.support.origins.content import BLOCK
from tests.support.origins.http_client import connect, fetch, listens, read_answer
from tests.support.origins.origin import Origin, RequestLog, ServedFile
from tests.support.wait import wait_until


def only_request(origin: Origin, path: str) -> RequestLog:
    """The one request for a path, once it has ended."""
    return wait_until(
        lambda: [entry for entry in origin.requests_for(path) if entry.ended is not None],
        what=f"an ended request for {path}",
    )[0]


def wait_for_requests(origin: Origin, count: int) -> None:
    wait_until(lambda: len(origin.requests) == count, what=f"request number {count}")


@contextmanager
def started_get(served: ServedFile, origin: Origin) -> Iterator[socket.socket]:
    """A GET by hand whose body the test reads, or does not."""
    with socket.create_connection(("127.0.0.1", origin.port), timeout=10) as client:
        client.sendall(f"GET {served.path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        yield client


# --- origin: correct


def test_origin_content_is_the_same_every_time(origin: Origin) -> None:
    size = 5 * BLOCK + 17
    served = origin.serve("/file.bin", size=size)
    answer = fetch(origin.port, "/file.bin")
    assert answer.status == 200
    assert len(answer.body) == size
    assert hashlib.sha256(answer.body).hexdigest() == served.sha256
    assert served.body_slice(BLOCK - 5, 2 * BLOCK + 5) == answer.body[BLOCK - 5 : 2 * BLOCK + 5]
    blocks = {answer.body[at : at + BLOCK] for at in range(0, size, BLOCK)}
    assert len(blocks) == 6
    changed = origin.serve("/file.bin", size=size, seed="another")
    assert changed.sha256 != served.sha256
    assert changed.etag != served.etag


RANGES = [
    ("bytes=0-0", 206, b"0", "bytes 0-0/10"),
    ("bytes=3-5", 206, b"345", "bytes 3-5/10"),
    ("bytes=7-", 206, b"789", "bytes 7-9/10"),
    ("bytes=7-99", 206, b"789", "bytes 7-9/10"),
    ("bytes=-3", 206, b"789", "bytes 7-9/10"),
    ("bytes=-99", 206, b"0123456789", "bytes 0-9/10"),
    ("bytes=10-", 416, b"", "bytes */10"),
    ("bytes=-0", 416, b"", "bytes */10"),
    ("bytes=5-3", 200, b"0123456789", None),
    ("bytes=0-1,3-4", 200, b"0123456789", None),
    ("lines=0-1", 200, b"0123456789", None),
]


@pytest.mark.parametrize(("asked", "status", "body", "content_range"), RANGES)
def test_origin_ranges(
    origin: Origin, asked: str, status: int, body: bytes, content_range: str | None
) -> None:
    origin.serve("/x", body=b"0123456789")
    answer = fetch(origin.port, "/x", headers={"Range": asked})
    assert (answer.status, answer.body) == (status, body)
    assert answer.headers["Content-Range"] == content_range
    assert answer.headers["Content-Length"] == str(len(body))
    head = fetch(origin.port, "/x", "HEAD", {"Range": asked})
    assert (head.status, head.body, head.headers["Content-Length"]) == (200, b"", "10")


DATE = "Wed, 21 Oct 2015 07:28:00 GMT"
IF_RANGES = [('"a"', 206), ('"b"', 200), ('W/"a"', 200), (DATE, 206), (DATE[:-3] + "UTC", 200)]


@pytest.mark.parametrize(("condition", "status"), IF_RANGES)
def test_origin_if_range(origin: Origin, condition: str, status: int) -> None:
    served = origin.serve("/x", body=b"0123456789", etag='"a"', last_modified=DATE)
    headers = {"Range": "bytes=3-", "If-Range": condition}
    assert fetch(origin.port, "/x", headers=headers).status == status
    served.behave(honour_if_range=False)
    assert fetch(origin.port, "/x", headers=headers).status == 206


def test_origin_keeps_a_connection_and_logs_requests(origin: Origin) -> None:
    origin.serve("/x", body=b"0123456789")
    with connect(origin.port) as client:
        client.request("GET", "/x?token=1", headers={"Range": "bytes=-4"})
        first = client.sock
        assert read_answer(client).body == b"6789"
        client.request("GET", "/none")
        assert client.sock is first
        assert read_answer(client).status == 404
    entry, other = origin.requests
    assert (entry.method, entry.path, entry.query) == ("GET", "/x", "token=1")
    assert (entry.headers["range"], entry.range) == ("bytes=-4", (-4, None))
    assert (entry.status, entry.bytes_sent, other.status) == (206, 4, 404)
    # Final as soon as the client has it all, without waiting.
    assert entry.ended is not None
    assert entry.started <= entry.ended <= other.started
    assert origin.requests_for("/x") == [entry]


# --- origin: on purpose


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"truncate_after": 1000}, http.client.IncompleteRead),
        ({"reset_after": 1000}, ConnectionResetError),
    ],
)
def test_origin_cuts_a_body_and_heals(
    origin: Origin, fault: dict[str, Any], error: type[Exception]
) -> None:
    served = origin.serve("/x", size=400_000, faults=1, **fault)
    # Too short for the fault, so it is not used up.
    assert fetch(origin.port, "/x", headers={"Range": "bytes=0-99"}).error is None
    cut = fetch(origin.port, "/x")
    assert cut.headers["Content-Length"] == "400000"
    assert cut.body == served.body_slice(0, 1000)
    assert cut.error in (error, None)  # read1 takes a clean early end for the end
    assert (cut.error is None) == ("truncate_after" in fault)
    assert len(fetch(origin.port, "/x").body) == 400_000
    served.behave(faults=None)
    assert [len(fetch(origin.port, "/x").body) for _ in range(2)] == [1000, 1000]
    wait_until(lambda: origin.requests_for("/x")[-1].ended)
    assert [entry.bytes_sent for entry in origin.requests_for("/x")[-2:]] == [1000, 1000]


def test_origin_hangs_until_the_client_leaves(origin: Origin) -> None:
    served = origin.serve("/x", size=5000, hang_after=10)
    with started_get(served, origin) as client:
        wait_until(lambda: origin.requests_for("/x"))
        wait_until(lambda: origin.requests_for("/x")[0].bytes_sent == 10)
        assert origin.requests_for("/x")[0].ended is None
        client.settimeout(0.1)
        with client.makefile("rb") as answer, pytest.raises(TimeoutError):
            answer.read()  # no end to find
    assert only_request(origin, "/x").bytes_sent == 10


def test_origin_paces_a_body(origin: Origin) -> None:
    origin.serve("/x", size=20_000, bytes_per_second=100_000, delay=0.1)
    assert len(fetch(origin.port, "/x").body) == 20_000
    entry = only_request(origin, "/x")
    assert entry.ended is not None
    # Never faster than asked for; slower is up to the machine.
    assert entry.ended - entry.started >= 0.1 + 0.19


def test_origin_gate_holds_the_body(origin: Origin) -> None:
    gate = threading.Event()
    served = origin.serve("/x", size=400_000, gate=gate, gate_after=1234)
    with started_get(served, origin) as one:
        wait_for_requests(origin, 1)
        with started_get(served, origin):
            wait_until(lambda: [e.bytes_sent for e in origin.requests_for("/x")] == [1234, 1234])
            assert origin.max_concurrent("/x") == 2
        gate.set()
        with http.client.HTTPResponse(one) as response:
            response.begin()
            assert hashlib.sha256(response.read()).hexdigest() == served.sha256
        assert origin.requests_for("/x")[0].bytes_sent == 400_000


def test_origin_does_not_count_a_client_that_left(origin: Origin) -> None:
    served = origin.serve("/x", size=5_000_000, hang_after=4_000_000)
    for number in range(1, 4):
        with started_get(served, origin):
            wait_for_requests(origin, number)
    for number in range(4, 24):
        fetch(origin.port, "/x", headers={"Range": f"bytes=0-{number}"})
    assert origin.max_concurrent("/x") == 1


def test_origin_closes_at_once_with_clients_waiting() -> None:
    origin = Origin()
    hung = origin.serve("/hung", size=100, hang_after=1)
    full = origin.serve("/full", size=500_000_000)
    with started_get(hung, origin), started_get(full, origin), connect(origin.port) as idle:
        idle.connect()
        wait_for_requests(origin, 2)
        origin.close()
        assert all(entry.ended is not None for entry in origin.requests)
    origin.close()
    assert not listens(origin.port)


def test_origin_knows_how_much_of_a_file_a_client_can_have(origin: Origin) -> None:
    file = origin.serve("/f", size=1000, truncate_after=100, faults=1)
    assert origin.furthest("/f") == 0
    fetch(origin.port, "/f")
    assert origin.furthest("/f") == 100
    fetch(origin.port, "/f", headers={"Range": "bytes=500-599"})
    assert origin.furthest("/f") == 600
    file.behave(status=503)
    fetch(origin.port, "/f")
    assert origin.furthest("/f") == 600
