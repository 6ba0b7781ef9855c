"""WebSockets: calls and notifications, whose they are, and clients that are dropped."""

from __future__ import annotations

import json
import socket as socket_module
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from api.rpc import socket as sockets
from api.rpc.gids import gid_of
from api.services import HttpLimits
from domain.access import Principal
from domain.ids import new_job_id
from domain.job import Job, JobStatus
from tasks.api import accounts
from tests.support.aria2 import Rpc, rpc
from tests.support.services.http_api import HttpApi
from tests.support.wait import wait_until

S = JobStatus


class Socket:
    """An open WebSocket of one user."""

    def __init__(self, connection: ClientConnection, token: str) -> None:
        self.connection, self._token = connection, token
        self.notified: list[tuple[str, str]] = []

    def call(self, method: str, *params: Any) -> dict[str, Any]:
        """Return the answer to a call."""
        body = {"id": "q", "method": method, "params": [f"token:{self._token}", *params]}
        self.connection.send(json.dumps(body))
        while "id" not in (message := json.loads(self.connection.recv(timeout=30))):
            self._keep(message)
        found: dict[str, Any] = message
        return found

    def wait_for(self, count: int) -> list[tuple[str, str]]:
        """Return the notifications once there are so many: method and GID."""
        while len(self.notified) < count:
            self._keep(json.loads(self.connection.recv(timeout=30)))
        return self.notified

    def _keep(self, message: dict[str, Any]) -> None:
        assert set(message) == {"jsonrpc", "method", "params"}
        (event,) = message["params"]
        self.notified.append((message["method"].removeprefix("aria2.onDownload"), event["gid"]))


def _address(api: HttpApi, query: str = "") -> str:
    return f"ws://127.0.0.1:{api.port}/jsonrpc{query}"


@contextmanager
def _open(api: HttpApi, user: str, **options: Any) -> Iterator[Socket]:
    with connect(_address(api), **options) as connection:
        socket = Socket(connection, api.keys[user])
        assert "result" in socket.call("aria2.getVersion")
        yield socket


def _change(api: HttpApi, job: Job, *states: JobStatus) -> Job:
    """Do what workers and callers do to a job."""
    jobs, runtime = api.system.runtime.jobs, api.system.runtime
    for state in states:
        changes: dict[str, Any] = {}
        if (job.status, state) == (S.DOWNLOADING, S.PAUSED):
            (job,) = jobs.request_control([job], "pause")
        if state is S.DOWNLOADING:
            changes = {"fence": job.fence + 1, "started_at": runtime.now(), "worker": "w"}
        if state in {S.COMPLETED, S.FAILED, S.CANCELLED}:
            changes = {"finished_at": runtime.now()}
        changed = jobs.transition(job, state, now=runtime.now(), reason="test", changes=changes)
        assert changed is not None
        job = changed
    return job


def test_what_happens_to_a_download_is_sent(api: HttpApi) -> None:
    lives = {
        "paused in the queue": ((S.PAUSED,), ["Pause"]),
        "completed": ((S.DOWNLOADING, S.VERIFYING, S.COMPLETED), ["Start", "Complete"]),
        "failed": ((S.DOWNLOADING, S.FAILED), ["Start", "Error"]),
        "removed in the queue": ((S.CANCELLED,), ["Stop"]),
        "removed while it ran": ((S.DOWNLOADING, S.CANCELLED), ["Start", "Stop"]),
    }
    with _open(api, "ada") as socket:
        expected = []
        for states, names in lives.values():
            job = _change(api, api.job_of("ada", new_job_id()), *states)
            expected += [(name, gid_of(job.id)) for name in names]
            assert socket.wait_for(len(expected)) == expected


def test_each_step_is_sent_once(api: HttpApi) -> None:
    with _open(api, "ada") as socket:
        job = api.job_of("ada", new_job_id())
        for count, state in enumerate((S.DOWNLOADING, S.PAUSED), 1):
            job = _change(api, job, state)
            socket.wait_for(count)
        # A note is an event, and no change of state.
        api.system.runtime.jobs.note_many([job.id], "a note", now=api.system.runtime.now())
        _change(api, job, S.QUEUED, S.DOWNLOADING, S.FAILED)
        names = [name for name, _ in socket.wait_for(4)]
        assert names == ["Start", "Pause", "Start", "Error"]


def test_a_socket_is_sent_what_its_tokens_may_see(api: HttpApi) -> None:
    with _open(api, "ada") as ada, _open(api, "eve") as eve, _open(api, "vic") as vic:
        adas = gid_of(_change(api, api.job_of("ada", new_job_id()), S.CANCELLED).id)
        assert ada.wait_for(1) == vic.wait_for(1) == [("Stop", adas)]
        eves = gid_of(_change(api, api.job_of("eve", new_job_id()), S.CANCELLED).id)
        assert eve.wait_for(1) == [("Stop", eves)]
        assert vic.wait_for(2)[1:] == [("Stop", eves)]
        # Answers come behind what was sent before.
        ada.call("aria2.getVersion")
        assert ada.notified == [("Stop", adas)]


def test_a_key_that_may_not_read_is_sent_nothing(api: HttpApi) -> None:
    key = api.new_key("ada", ["control"])
    with connect(_address(api)) as connection, _open(api, "ada") as ada:
        silent = Socket(connection, key)
        job = api.job_of("ada", new_job_id())
        assert silent.call("aria2.pause", gid_of(job.id))["result"] == gid_of(job.id)
        ada.wait_for(1)
        silent.call("system.listMethods")
        assert silent.notified == []


def test_a_token_in_the_address_is_for_clients_that_only_listen(
    api: HttpApi, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    query = f"?token={api.keys['ada']}"
    with pytest.raises(InvalidStatus):
        connect(_address(api, query), additional_headers={"Origin": "https://evil.example"})
    with connect(_address(api, query)) as connection:
        socket = Socket(connection, "")
        socket.call("system.listMethods")  # now the token is known
        gid = gid_of(_change(api, api.job_of("ada", new_job_id()), S.CANCELLED).id)
        assert socket.wait_for(1) == [("Stop", gid)]
        assert socket.call("aria2.getVersion")["error"]["message"] == "Unauthorized"
    ours = [
        one.getMessage() for one in caplog.records if not one.name.startswith("websockets.client")
    ]
    assert api.keys["ada"] not in "".join(ours)
    assert any("/jsonrpc" in one for one in ours)


def test_answers_are_those_of_http(api: HttpApi) -> None:
    client = rpc(api, "ada")
    bodies = [b"{", b"[]", b'{"id":1}', b'{"id":1,"method":"system.listNotifications"}']
    with _open(api, "ada") as socket:
        for body in bodies:
            socket.connection.send(body.decode())
            assert json.loads(socket.connection.recv(timeout=30)) == client.send(body).json()
        socket.connection.send(bodies[-1])  # as a binary message
        assert "result" in json.loads(socket.connection.recv(timeout=30))


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("Origin", "https://evil.example"),
        ("Origin", "null"),
        ("Origin", "chrome-extension://abc"),
        ("Sec-Fetch-Site", "cross-site"),
        ("Host", "evil.example"),
    ],
)
def test_pages_of_other_sites_are_refused(api: HttpApi, header: str, value: str) -> None:
    options: dict[str, Any] = {"additional_headers": {header: value}}
    if header == "Origin":
        options = {"origin": value}
    address = _address(api)
    if header == "Host":
        address, options = (
            address.replace("127.0.0.1", value),
            {"address": ("127.0.0.1", api.port)},
        )
    with pytest.raises(InvalidStatus, match="403"):
        connect(address, **options)


@pytest.mark.parametrize("origin", ["https://ariang.example", "<own>", None])
def test_pages_of_this_service_and_of_configured_origins_connect(
    api: HttpApi, origin: str | None
) -> None:
    with _open(api, "ada", origin=api.url if origin == "<own>" else origin):
        pass


def test_other_paths_have_no_sockets(api: HttpApi) -> None:
    for path in ("/v1/events", "/v1/downloads", "/"):
        with pytest.raises(InvalidStatus):
            connect(_address(api).replace("/jsonrpc", path))


def _is_dropped(socket: Socket) -> bool:
    try:
        while True:
            socket.connection.recv(timeout=30)
    except ConnectionClosed:
        return True


def test_a_message_that_is_too_large_ends_the_connection(api: HttpApi) -> None:
    with _open(api, "ada") as socket:
        socket.connection.send(" " * (api.services.limits.socket_bytes + 1))
        assert _is_dropped(socket)


def test_who_sends_no_valid_token_is_dropped(api: HttpApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "SILENCE", 0.2)
    with connect(_address(api)) as connection:
        assert _is_dropped(Socket(connection, ""))


def test_who_reads_nothing_is_dropped(api: HttpApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "UNREAD", 0.2)
    key = api.new_key("ada")
    large = json.dumps([{"id": "x" * 1_000, "method": "system.listMethods"}] * 900)
    with socket_module.create_connection(("127.0.0.1", api.port)) as raw:
        raw.sendall(_handshake(api.port, f"?token={key}"))
        own = wait_until(lambda: _with_token(api, key), deadline=30, what="it is connected")
        raw.settimeout(1)
        with suppress(OSError):
            for _ in range(20):
                raw.sendall(_frame(large))
        wait_until(
            lambda: own not in api.app.state.rpc_notifier.sockets, deadline=60, what="it is dropped"
        )


def _with_token(api: HttpApi, key: str) -> Any:
    notifier = getattr(api.app.state, "rpc_notifier", None)
    found = [one for one in notifier.sockets if key in one._principals] if notifier else []
    return found[0] if found else None


def _handshake(port: int, query: str) -> bytes:
    lines = [
        f"GET /jsonrpc{query} HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def _frame(text: str) -> bytes:
    """Return a text message with a mask of zeros."""
    raw = text.encode()
    return b"\x81\xff" + len(raw).to_bytes(8, "big") + bytes(4) + raw


def test_a_token_that_is_revoked_shows_nothing_more(
    api: HttpApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "CHECK", 0.1)
    key = api.new_key("ada")
    with connect(_address(api)) as connection, _open(api, "vic") as vic:
        socket = Socket(connection, key)
        socket.call("aria2.getVersion")
        notifier = api.app.state.rpc_notifier
        (own,) = [one for one in notifier.sockets if key in one._principals]
        prefix = key.split("_")[1]
        accounts.revoke_key(Principal.local(), prefix, runtime=api.system.runtime)
        wait_until(lambda: key not in own._principals, deadline=30, what="the key is forgotten")
        _change(api, api.job_of("ada", new_job_id()), S.CANCELLED)
        vic.wait_for(1)
        socket.call("system.listMethods")
        assert socket.notified == []


def test_the_number_of_sockets_is_limited(api: HttpApi, monkeypatch: pytest.MonkeyPatch) -> None:
    with _open(api, "ada"):
        monkeypatch.setattr(sockets, "MOST", len(api.app.state.rpc_notifier.sockets))
        with pytest.raises(InvalidStatus, match="403"):
            connect(_address(api))


def test_calls_without_a_valid_token_keep_no_socket_open(
    api: HttpApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "SILENCE", 0.2)
    with connect(_address(api)) as connection:
        socket = Socket(connection, "seen_0000aaaa_wrong")
        with suppress(ConnectionClosed):
            for _ in range(100_000):
                socket.call("system.listNotifications")
        assert _is_dropped(socket)


def test_the_number_of_sockets_of_a_user_is_limited(
    api: HttpApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "MOST_OF_USER", 2)
    with _open(api, "ada") as first, _open(api, "ada"), connect(_address(api)) as third:
        with suppress(ConnectionClosed):
            Socket(third, api.keys["ada"]).call("aria2.getVersion")
        assert _is_dropped(Socket(third, ""))
        assert first.call("aria2.getVersion")["result"]
        with _open(api, "eve"):
            pass


def test_the_number_of_sockets_of_an_address_is_limited(
    api: HttpApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _open(api, "ada"):
        monkeypatch.setattr(sockets, "MOST_OF_ADDRESS", len(api.app.state.rpc_notifier.sockets))
        with pytest.raises(InvalidStatus, match="403"):
            connect(_address(api))
        for one in list(api.app.state.rpc_notifier.sockets):
            one.network = "192.0.2.1"
        with _open(api, "ada"):
            pass


#: What a client sends that never completes a message, and how often at most until it is dropped.
UNFINISHED = {
    "a large frame": (b"\x81\xff" + (1_900_000).to_bytes(8, "big") + bytes(4) + b" " * 200_000, 1),
    "a large message in frames": (b"\x01\xfe\xc3\x50" + bytes(4) + b" " * 50_000, 20),
    "frames without content": (b"\x01\x80" + bytes(4) + (b"\x00\x80" + bytes(4)) * 50_000, 20),
    "a small frame, slowly": (b"\x81\x85" + bytes(4) + b"{", 1),
}


@pytest.mark.parametrize("what", UNFINISHED)
def test_messages_that_do_not_end_take_little_room_and_time(
    api: HttpApi, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    content, times = UNFINISHED[what]
    limits = HttpLimits(sockets_bytes=100_000, body_seconds=0.3 if "slowly" in what else 600.0)
    monkeypatch.setattr(sockets.SocketProtocol, "limits", limits)
    with _open(api, "ada") as ada:
        with socket_module.create_connection(("127.0.0.1", api.port), timeout=30) as raw:
            raw.sendall(_handshake(api.port, f"?token={api.keys['eve']}"))
            assert raw.recv(65536).startswith(b"HTTP/1.1 101")
            with suppress(ConnectionError):
                for _ in range(times):
                    raw.sendall(content)
                while raw.recv(65536):
                    pass
        wait_until(lambda: not sockets.SocketProtocol.of_all, deadline=30, what="the room is back")
        assert ada.call("aria2.getVersion")["result"]


def test_room_is_counted_until_a_message_is_answered(
    api: HttpApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets.SocketProtocol, "limits", HttpLimits(sockets_bytes=150_000))
    filled = json.dumps({"id": "x" * 100_000, "method": "system.listNotifications"})
    with _open(api, "ada") as socket:
        for _ in range(5):
            socket.connection.send(filled)
            assert "result" in json.loads(socket.connection.recv(timeout=30))
            for _ in range(100):
                socket.connection.ping()
        wait_until(lambda: not sockets.SocketProtocol.of_all, deadline=30, what="the room is back")


def test_pings_of_a_client_that_reads_nothing_are_not_answered(api: HttpApi) -> None:
    """The answers would be in memory, as many as it sends."""
    ping = (b"\x89\xfd" + bytes(4) + b" " * 125) * 500
    with _open(api, "ada"):
        before = set(api.server.server_state.connections)
        with socket_module.create_connection(("127.0.0.1", api.port)) as raw:
            raw.setsockopt(socket_module.SOL_SOCKET, socket_module.SO_RCVBUF, 4_096)
            raw.settimeout(30)
            raw.sendall(_handshake(api.port, f"?token={api.keys['eve']}"))
            assert raw.recv(65536).startswith(b"HTTP/1.1 101")
            own: Any
            (own,) = set(api.server.server_state.connections) - before
            with suppress(ConnectionError):  # it may be dropped
                for _ in range(300):
                    raw.sendall(ping)
                    assert own.transport.get_write_buffer_size() < 2**20


def test_nothing_is_left_of_a_client_that_has_gone(api: HttpApi) -> None:
    with _open(api, "ada"):
        pass
    notifier = api.app.state.rpc_notifier
    wait_until(lambda: not notifier.sockets, deadline=30, what="no socket is left")
    wait_until(lambda: not notifier._clients, deadline=30, what="no client is left")
    assert rpc(api, "ada").call("getVersion")
    assert Rpc(api.url, None).answer("system.listMethods")["result"]
