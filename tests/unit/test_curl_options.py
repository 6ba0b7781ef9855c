"""What a libcurl handle is told before each request; a recorder stands between and passes it on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pycurl
import pytest

from worker.transfer.curl import TransferOptions, prepare

OPTIONS = TransferOptions(
    connect_timeout=2.5,
    low_speed_time=7.4,
    low_speed_limit=100,
    max_redirects=6,
    user_agent="seen/1",
    checkpoint_interval=1.0,
    min_free_bytes=0,
)
HTTP_ONLY = pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS


class Recorder:
    """A handle that keeps what it is told, once libcurl has accepted it."""

    def __init__(self) -> None:
        self.handle = pycurl.Curl()
        self.told: dict[int, Any] = {}

    def setopt(self, option: int, value: Any) -> None:
        self.handle.setopt(option, value)
        self.told[option] = value


@pytest.fixture
def handle() -> Iterator[Recorder]:
    recorder = Recorder()
    yield recorder
    recorder.handle.close()


def prepared(handle: Recorder, offset: int = 0, url: str = "http://127.0.0.1:1/") -> dict[int, Any]:
    prepare(handle, url, OPTIONS, ["Accept: */*"], offset)
    return handle.told


def test_only_http_is_spoken_at_first_and_after_a_redirect(handle: Recorder) -> None:
    told = prepared(handle)
    assert told[pycurl.PROTOCOLS] == HTTP_ONLY
    assert told[pycurl.REDIR_PROTOCOLS] == HTTP_ONLY


def test_redirects_are_followed_and_bounded(handle: Recorder) -> None:
    told = prepared(handle)
    assert (told[pycurl.FOLLOWLOCATION], told[pycurl.MAXREDIRS]) == (1, 6)


def test_the_environment_names_no_proxy(handle: Recorder) -> None:
    assert prepared(handle)[pycurl.PROXY] == ""


def test_connecting_and_silence_have_an_end(handle: Recorder) -> None:
    told = prepared(handle)
    assert told[pycurl.CONNECTTIMEOUT_MS] == 2500
    assert (told[pycurl.LOW_SPEED_LIMIT], told[pycurl.LOW_SPEED_TIME]) == (100, 7)


def test_no_signal_reaches_a_thread(handle: Recorder) -> None:
    assert prepared(handle)[pycurl.NOSIGNAL] == 1


def test_certificates_are_checked(handle: Recorder) -> None:
    told = prepared(handle)
    assert Path(told[pycurl.CAINFO]).is_file()
    # libcurl checks unless it is told not to.
    assert told.get(pycurl.SSL_VERIFYPEER, 1) == 1
    assert told.get(pycurl.SSL_VERIFYHOST, 2) == 2


@pytest.mark.parametrize(("offset", "asked"), [(0, None), (1, "1-"), (2**40, f"{2**40}-")])
def test_a_range_is_asked_for_only_to_go_on(
    handle: Recorder, offset: int, asked: str | None
) -> None:
    assert prepared(handle, offset).get(pycurl.RANGE) == asked


def test_a_local_file_is_not_read(handle: Recorder, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("do not tell")
    received: list[bytes] = []
    prepared(handle, url=secret.as_uri())
    handle.handle.setopt(pycurl.WRITEFUNCTION, received.append)
    with pytest.raises(pycurl.error) as caught:
        handle.handle.perform()
    assert caught.value.args[0] == pycurl.E_UNSUPPORTED_PROTOCOL
    assert received == []
