"""`seen get` on an origin that does not answer: it ends, and names the command that continues."""

from __future__ import annotations

import shlex
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.faults import resolver
from tests.support.origins.origin import Origin
from tests.support.servers.process import free_port
from tests.support.services.seen import Seen


@pytest.fixture
def seen(tmp_path: Path) -> Iterator[Seen]:
    settings = {"SEEN_RETRY_BACKOFF": "0.2", "SEEN_SHORT_RETRIES": "0"}
    with Seen(tmp_path, **settings) as person:
        yield person


def last_line(err: str) -> str:
    return err.strip().splitlines()[-1]


@pytest.mark.parametrize("kind", ["refused", "503", "silent"])
def test_attempts_end_a_get_that_says_how_to_go_on(seen: Seen, origin: Origin, kind: str) -> None:
    seen.environment["SEEN_LOW_SPEED_TIME"] = "1"
    if kind == "refused":
        url = f"http://127.0.0.1:{free_port()}/a.bin"
    else:
        behaviour = {"status": 503} if kind == "503" else {"delay": 3600.0}
        url = origin.serve("/a.bin", body=b"abc", **behaviour).url
    done = seen.run("get", url, "--attempts", "2", "--json")
    (job,) = done.json()
    assert done.status == 1
    assert (job["status"], job["attempts"]) == ("failed", 2)
    again = f"seen retry {job['id']} && seen get {url} --attempts 2 --json"
    assert job["continue_with"] == again
    assert last_line(done.err) == f"seen: to continue: {again}"


def test_command_of_the_last_line_goes_on(seen: Seen, origin: Origin) -> None:
    file = origin.serve("/a.bin", body=b"abc" * 1000, status=503)
    done = seen.run("get", file.url, "--attempts", "1")
    file.behave(status=None)
    for command in last_line(done.err).removeprefix("seen: to continue: ").split(" && "):
        seen.good(*shlex.split(command)[1:])
    assert (seen.folder / "a.bin").read_bytes() == b"abc" * 1000


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
def test_name_that_does_not_exist_fails_at_the_first_attempt(seen: Seen, tmp_path: Path) -> None:
    library = resolver.build(tmp_path)
    seen.environment |= resolver.environment(library, tmp_path, [socket.EAI_NONAME])
    done = seen.run("get", "http://gone.test/a.bin", "--json")
    (job,) = done.json()
    assert (done.status, job["status"], job["error_code"]) == (1, "failed", "no_such_host")
    assert (job["attempts"], job["continue_with"]) == (1, None)


def test_max_time_pauses_and_the_same_command_goes_on(seen: Seen, origin: Origin) -> None:
    file = origin.serve("/a.bin", size=200_000, bytes_per_second=20_000)
    done = seen.run("get", file.url, "--max-time", "2", "--connections", "1")
    assert done.status == 1
    assert "--max-time" in done.err
    file.behave(bytes_per_second=None)
    command = shlex.split(last_line(done.err).removeprefix("seen: to continue: "))
    assert command == ["seen", "get", file.url, "--max-time", "2", "--connections", "1"]
    seen.good("get", file.url)
    assert (seen.folder / "a.bin").stat().st_size == file.size
    (job,) = seen.good("list", "--json").json()
    assert job["status"] == "completed"
