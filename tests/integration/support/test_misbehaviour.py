"""Origins of the transfer's tests: what they do wrong, they do as said; real servers do as they do."""

from __future__ import annotations

import ftplib
import hashlib
import http.client
import socket
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.origins import misbehaviour
from tests.support.origins.http_client import connect, fetch, read_answer
from tests.support.origins.misbehaviour import Respond
from tests.support.origins.origin import Origin
from tests.support.servers import ftp
from tests.support.servers.ftp import Ftp
from tests.support.servers.nginx import Nginx
from tests.support.wait import wait_until

BODY = b"0123456789"
MIDDLE = {"Range": "bytes=2-5"}


def ask(origin: Origin, respond: Respond, headers: dict[str, str] | None = None) -> Any:
    origin.serve("/x", body=BODY, etag='"a"', respond=respond)
    return fetch(origin.port, "/x", headers=headers)


@pytest.mark.parametrize(
    ("respond", "status", "said", "body"),
    [
        (misbehaviour.content_range(None), 206, None, b"2345"),
        (
            misbehaviour.content_range(lambda first, last, total: f"{first}/{last}/{total}"),
            206,
            "2/5/10",
            b"2345",
        ),
        (misbehaviour.longer_than_its_range(3), 206, "bytes 2-5/10", b"2345678"),
        (misbehaviour.shifted_range(1), 206, "bytes 3-5/10", b"345"),
        (misbehaviour.shorter_than_its_range(1), 206, "bytes 2-5/10", b"234"),
        (misbehaviour.unsatisfiable("bytes */7"), 416, "bytes */7", b"origin says 416\n"),
        (misbehaviour.only_by_date(), 206, "bytes 2-5/10", b"2345"),
        (misbehaviour.old_version(), 200, None, BODY),
    ],
)
def test_a_range_is_answered_as_said(
    origin: Origin, respond: Respond, status: int, said: str | None, body: bytes
) -> None:
    answer = ask(origin, respond, MIDDLE)
    assert (answer.status, answer.body) == (status, body)
    assert answer.headers["Content-Range"] == said


def test_several_parts_and_an_unasked_part(origin: Origin) -> None:
    answer = ask(origin, misbehaviour.several_parts(), MIDDLE)
    assert b"Content-Range: bytes 2-5/10\r\n\r\n2345\r\n--b--" in answer.body
    answer = ask(origin, misbehaviour.part_unasked(3, 6))
    assert (answer.status, answer.body) == (206, b"3456")
    assert answer.headers["Content-Range"] == "bytes 3-6/10"


def test_a_tag_is_refused_where_only_dates_are_taken(origin: Origin) -> None:
    date = "Wed, 21 Oct 2015 07:28:00 GMT"
    respond = misbehaviour.only_by_date()
    origin.serve("/x", body=BODY, etag='"a"', last_modified=date, respond=respond)
    statuses = [
        fetch(origin.port, "/x", headers={**MIDDLE, "If-Range": condition}).status
        for condition in ('"a"', date)
    ]
    assert statuses == [200, 206]


def test_a_file_changes_after_some_requests(origin: Origin) -> None:
    origin.serve("/x", size=1000, respond=misbehaviour.changes_after(1, size=900))
    first, second = fetch(origin.port, "/x"), fetch(origin.port, "/x", headers=MIDDLE)
    assert (len(first.body), second.headers["Content-Range"]) == (1000, "bytes 2-5/900")
    assert first.headers["ETag"] != second.headers["ETag"]
    assert first.body[2:6] != second.body


def raw(origin: Origin, respond: Respond) -> socket.socket:
    origin.serve("/x", body=BODY, respond=respond)
    client = socket.create_connection(("127.0.0.1", origin.port), timeout=5)
    client.sendall(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
    return client


def test_what_is_no_answer(origin: Origin) -> None:
    with raw(origin, misbehaviour.nothing()) as client:
        assert client.recv(100) == b""
    with raw(origin, misbehaviour.garbage(b"garbage")) as client:
        assert client.recv(100) == b"garbage"
        assert client.recv(100) == b""
    with raw(origin, misbehaviour.stops_in_header(8)) as client:
        assert client.recv(100) == b"HTTP/1.1"
        client.settimeout(0.1)
        with pytest.raises(TimeoutError):
            client.recv(100)
    with raw(origin, misbehaviour.endless_interim()) as client:
        with client.makefile("rb") as answer:
            got = answer.read(10_000)
        assert got.count(b"HTTP/1.1 103 Early Hints\r\n") > 100


def test_one_range_hangs_and_others_do_not(origin: Origin) -> None:
    served = origin.serve("/x", size=1000, respond=misbehaviour.hangs_from(500))
    with connect(origin.port) as client:
        client.request("GET", "/x", headers={"Range": "bytes=400-599"})
        assert client.getresponse().read(100) == served.body_slice(400, 500)
        assert len(fetch(origin.port, "/x", headers={"Range": "bytes=0-399"}).body) == 400
        assert origin.requests_for("/x")[0].ended is None


def test_every_answer_is_reset(origin: Origin) -> None:
    origin.serve("/x", size=1000, respond=misbehaviour.resets_every(300))
    ranges = ["bytes=0-", "bytes=300-", "bytes=800-"]
    answers = [fetch(origin.port, "/x", headers={"Range": asked}) for asked in ranges]
    assert [len(answer.body) for answer in answers] == [300, 300, 200]
    assert [answer.error for answer in answers] == [ConnectionResetError] * 2 + [None]


@pytest.mark.parametrize("refusal", [503, None])
def test_connections_over_the_limit_are_refused(origin: Origin, refusal: int | None) -> None:
    gate = threading.Event()
    respond = misbehaviour.at_most(1, refusal)
    origin.serve("/x", body=BODY, gate=gate, gate_after=5, respond=respond)
    with connect(origin.port) as client:
        client.request("GET", "/x")
        wait_until(lambda: origin.requests_for("/x"))
        if refusal is None:
            with pytest.raises(http.client.RemoteDisconnected):
                fetch(origin.port, "/x")
        else:
            assert fetch(origin.port, "/x").status == refusal
        gate.set()
        assert read_answer(client).body == BODY
    assert fetch(origin.port, "/x").status == 200


def test_the_log_shows_bytes_that_were_sent_twice(origin: Origin) -> None:
    gate = threading.Event()
    served = origin.serve("/x", size=1000)
    for asked in ("bytes=0-499", "bytes=400-999"):
        fetch(origin.port, "/x", headers={"Range": asked})
    assert origin.bytes_sent_twice("/x") == 100
    assert origin.sent_at_once("/x") == []
    served.behave(gate=gate, gate_after=50)
    with connect(origin.port) as client:
        client.request("GET", "/x", headers={"Range": "bytes=450-549"})
        wait_until(lambda: origin.requests_for("/x")[-1].bytes_sent == 50)
        served.behave(gate=None)
        fetch(origin.port, "/x", headers={"Range": "bytes=0-460"})
        assert [(a.first, b.first) for a, b in origin.sent_at_once("/x")] == [(450, 0)]
        gate.set()
        read_answer(client)


# ── TLS ─────────────────────────────────────────────────────────────────────────────────────────


# ── real servers ────────────────────────────────────────────────────────────────────────────────


def test_ftp_serves_continues_and_cuts(tmp_path: Path) -> None:
    data = hashlib.shake_256(b"x").digest(400_000)
    (tmp_path / "a.bin").write_bytes(data)
    with Ftp(tmp_path) as server:
        for login in ((), (ftp.USER, ftp.PASSWORD)):
            got = bytearray()
            with ftplib.FTP() as client:
                client.connect("127.0.0.1", server.port, timeout=5)
                client.login(*login)
                client.retrbinary("RETR a.bin", got.extend, rest=100_000)
            assert got == data[100_000:]
        server.cut_next_after(150_000)
        cut = bytearray()
        with ftplib.FTP() as client:
            client.connect("127.0.0.1", server.port, timeout=5)
            client.login()
            with suppress(ftplib.Error, EOFError):
                client.retrbinary("RETR a.bin", cut.extend)
        assert 150_000 <= len(cut) < 400_000
        assert ftp.PASSWORD not in " ".join(server.commands)
        assert "REST 100000" in server.commands


def test_nginx_limits_connections_and_can_leave_ranges_out(nginx: Nginx) -> None:
    (nginx.root / "limits.bin").write_bytes(bytes(3_000_000))
    whole = fetch(nginx.port, "/whole/limits.bin", headers=MIDDLE)
    assert (whole.status, len(whole.body)) == (200, 3_000_000)
    with connect(nginx.port) as one, connect(nginx.port) as other:
        for client in (one, other):
            client.request("GET", "/few/limits.bin")
            client.getresponse()
        assert fetch(nginx.port, "/few/limits.bin").status == 503
