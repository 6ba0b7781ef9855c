"""What a download never does, whatever the origin or the environment say."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from domain.job import JobStatus
from tests.support.origins.origin import Origin
from tests.support.services.running import run_download, running
from tests.support.services.system import System
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until
from worker.outcome import Outcome


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A listening socket that accepts connections only when a test does."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield server


def test_a_redirect_to_a_local_file_is_refused(
    tmp_path: Path, system: System, origin: Origin
) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    link = origin.serve("/link", body=b"", redirect=secret.as_uri())
    job = system.submit(link.url)

    assert run_download(system.runtime, job.id) is Outcome.FAILED

    assert system.job(job).error_code == "unsafe_redirect"
    assert list(system.downloads.iterdir()) == []


@pytest.mark.parametrize("scheme", ["ftp", "ftps"])
def test_a_redirect_to_another_protocol_is_refused_before_it_connects(
    system: System, origin: Origin, listener: socket.socket, scheme: str
) -> None:
    target = f"{scheme}://127.0.0.1:{listener.getsockname()[1]}/a.bin"
    job = system.submit(origin.serve("/link", body=b"", redirect=target).url)

    assert run_download(system.runtime, job.id) is Outcome.FAILED

    assert system.job(job).error_code == "unsafe_redirect"
    with pytest.raises(BlockingIOError):
        listener.accept()


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"])
def test_a_proxy_in_the_environment_changes_nothing(
    system: System,
    origin: Origin,
    monkeypatch: pytest.MonkeyPatch,
    free_port: int,
    name: str,
) -> None:
    for exception in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(exception, raising=False)
    monkeypatch.setenv(name, f"http://127.0.0.1:{free_port}")
    job = system.submit(origin.serve("/a.bin", size=10_000).url)

    assert run_download(system.runtime, job.id) is Outcome.COMPLETED


def test_an_origin_that_accepts_no_connection_times_out(tmp_path: Path, store: StoreServer) -> None:
    """Given a server whose queue of connections is full: its system drops what more come."""
    settings = {"SEEN_CONNECT_TIMEOUT": "0.3", "SEEN_LOW_SPEED_TIME": "600"}
    with ExitStack() as stack:
        system = stack.enter_context(System(tmp_path, store, settings=settings))
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        address = server.getsockname()
        while _can_connect(stack, address):
            pass
        job = system.submit(f"http://127.0.0.1:{address[1]}/a.bin")
        with running(system, job) as outcomes:
            try:
                # The system's own timeout is two minutes, libcurl's five.
                wait_until(lambda: system.job(job).status is JobStatus.WAITING)
            finally:
                server.close()  # pending connects are refused now

        assert outcomes == [Outcome.WAITING]
        assert system.job(job).error_code == "timeout"


def _can_connect(stack: ExitStack, address: tuple[str, int]) -> bool:
    client = stack.enter_context(socket.socket())
    client.settimeout(0.2)
    try:
        client.connect(address)
    except TimeoutError:
        return False
    return True
