"""No command ends in a traceback, whatever answers at the address of the store."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.support.inputs.commands import ARGUMENTS, URL
from tests.support.servers.dead_host import DeadHost
from tests.support.services.command_matrix import CommandMatrix, JobsTemplate
from tests.support.stores.server import StoreServer

#: Calls that use the store.
CALLS = [
    *([*name.split(), *ARGUMENTS[name]] for name in ("limit", "doctor", "pause", "cancel", "rm")),
    *(
        [*name.split(), *ARGUMENTS[name]]
        for name in ARGUMENTS
        if name.startswith(("cache", "dead"))
    ),
    ["add", URL, "--json"],
    ["list"],
    ["watch"],
    ["worker", "--check"],
    ["beat", "--check", "--json"],
]
#: Calls that work all the same: jobs are in the database, and their messages are sent later.
WORK = ("add", "cancel", "list", "pause", "rm")


@contextmanager
def _serving(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """Yield the address of a server that does this to each connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    threading.Thread(target=_answer, args=(connection,), daemon=True).start()

        def _answer(connection: socket.socket) -> None:
            with suppress(OSError), connection:
                answer(connection)

        threading.Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        with suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)


def _http(connection: socket.socket) -> None:
    connection.recv(1000)
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")


def _silent(connection: socket.socket) -> None:
    while connection.recv(1000):
        pass


def _nonsense(connection: socket.socket) -> None:
    while connection.recv(1000):
        connection.sendall(b"*-7\r\n$abc\r\n\xff\xfe")


def _refusing(connection: socket.socket) -> None:
    while connection.recv(1000):
        connection.sendall(b"-ERR go away\r\n" * 3)


def _mistyped(connection: socket.socket) -> None:
    while connection.recv(1000):
        connection.sendall(b"*1\r\n:7\r\n" * 3)


SERVERS = {
    "closes": lambda connection: None,
    "speaks HTTP": _http,
    "is silent": _silent,
    "answers nonsense": _nonsense,
    "refuses all": _refusing,
    "answers with other types": _mistyped,
}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> JobsTemplate:
    return JobsTemplate(tmp_path_factory.mktemp("template"))


def _check(folder: Path, template: JobsTemplate, **settings: str) -> None:
    quick = {"SEEN_CACHE_TIMEOUT": "0.3", "SEEN_CACHE_CONNECT_TIMEOUT": "0.3"}
    with CommandMatrix(folder, template, **{**quick, **settings}) as matrix:
        for call in CALLS:
            result = matrix.call(call, [])
            expected = {0, 130} if call[0] in (*WORK, "watch") else {1}
            if result.status not in expected:
                matrix.note(call, result, f"the status is not in {expected}")
            if result.status == 1:
                matrix.check_sentence(call, result)
    assert matrix.faults == []


@pytest.mark.parametrize("name", SERVERS)
def test_server_that_is_no_store(tmp_path: Path, template: JobsTemplate, name: str) -> None:
    with _serving(SERVERS[name]) as address:
        _check(tmp_path, template, SEEN_CACHE_ADDR=address)


@pytest.mark.parametrize(
    "address", ["127.0.0.1:1", "no-such-host.invalid:6379", "unix:///no/such/socket", "[::1]:1"]
)
def test_no_server(tmp_path: Path, template: JobsTemplate, address: str) -> None:
    _check(tmp_path, template, SEEN_CACHE_ADDR=address)


def test_host_that_does_not_answer(tmp_path: Path, template: JobsTemplate) -> None:
    with DeadHost() as host:
        at_once = {"SEEN_CACHE_TIMEOUT": "0.05", "SEEN_CACHE_CONNECT_TIMEOUT": "0.05"}
        _check(tmp_path, template, SEEN_CACHE_ADDR=f"127.0.0.1:{host.port}", **at_once)


@pytest.mark.parametrize(
    "settings",
    [
        {"SEEN_CACHE_PASSWORD": "wrong"},
        {"SEEN_CACHE_PASSWORD": ""},
        {"SEEN_CACHE_USERNAME": "nobody", "SEEN_CACHE_PASSWORD": "wrong"},
        {"SEEN_CACHE_TLS": "true"},
        {"SEEN_CACHE_TLS": "true", "SEEN_CACHE_TLS_CA": "/no/such/file"},
        {"SEEN_CACHE_TLS": "true", "SEEN_CACHE_TLS_CA": "/dev/null"},
        {"SEEN_CACHE_DB": "1023"},
    ],
    ids=str,
)
def test_store_that_this_login_does_not_open(
    tmp_path: Path, template: JobsTemplate, store: StoreServer, settings: dict[str, str]
) -> None:
    login = {"SEEN_CACHE_ADDR": store.addr, "SEEN_CACHE_PASSWORD": store.password}
    _check(tmp_path, template, **{**login, **settings})
