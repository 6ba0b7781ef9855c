"""The receiver in docs/webhooks.md verifies what the service sends, and refuses anything else."""

from __future__ import annotations

import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.servers.process import free_port
from tests.support.wait import wait_until
from worker.webhooks.signatures import new_secret, signed_headers

PAGE = Path(__file__).parents[3] / "docs" / "webhooks.md"
BODY = b'{"type": "download.completed", "data": {"path": "/films/a.mkv"}}'


@pytest.fixture
def port() -> int:
    """Where the receiver listens."""
    return free_port()


@pytest.fixture
def secret(port: int, tmp_path: Path) -> Iterator[str]:
    """The secret of a receiver that listens."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    secret = new_secret()
    environment = {"WEBHOOK_SECRET": secret, "PORT": str(port), "PATH": "/usr/bin:/bin"}
    with (tmp_path / "printed").open("wb") as output:
        receiver = subprocess.Popen(
            [sys.executable, "-c", code],
            env=environment,
            stdout=output,
            stderr=subprocess.DEVNULL,
        )
    try:
        wait_until(lambda: post(port, {}) == 400, deadline=30, what="the receiver listens")
        yield secret
    finally:
        receiver.kill()
        receiver.wait()


def post(port: int, headers: dict[str, str], body: bytes = BODY) -> int:
    """Return the status of the response; 0 without one."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}/", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
    except OSError:
        return 0


def test_the_example(secret: str, port: int, tmp_path: Path) -> None:
    now = int(time.time())
    genuine = signed_headers([new_secret(), secret], "msg_1", now, BODY)
    assert post(port, genuine) == 204
    assert post(port, genuine) == 204  # a second time: no second effect
    assert post(port, genuine, BODY.replace(b"a.mkv", b"b.mkv")) == 400
    assert post(port, signed_headers([new_secret()], "msg_1", now, BODY)) == 400
    assert post(port, signed_headers([secret], "msg_2", now - 3600, BODY)) == 400
    assert post(port, {**genuine, "webhook-id": "msg_3"}) == 400
    assert (tmp_path / "printed").read_text() == "download.completed /films/a.mkv\n"
