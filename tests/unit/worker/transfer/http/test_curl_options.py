"""The options of a libcurl handle before each request; a recorder passes them on to libcurl."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pycurl
import pytest

from worker.transfer.http.curl_options import buffer_size, configure
from worker.transfer.http.request import Request, same_origin
from worker.transfer.interfaces import TransferOptions

OPTIONS = TransferOptions(
    connect_timeout=2.5,
    low_speed_time=7.4,
    low_speed_limit=100,
    max_redirects=6,
    user_agent="seen/1",
    checkpoint_interval=1.0,
)
ALLOWED = pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS | pycurl.PROTO_FTP | pycurl.PROTO_FTPS
URL = "http://127.0.0.1:1/"


class Recorder:
    """A handle that records each option that libcurl has accepted."""

    def __init__(self) -> None:
        self.handle = pycurl.Curl()
        self.options: dict[int, Any] = {}

    def setopt(self, option: int, value: Any) -> None:
        self.handle.setopt(option, value)
        self.options[option] = value


@pytest.fixture
def handle() -> Iterator[Recorder]:
    recorder = Recorder()
    yield recorder
    recorder.handle.close()


def prepared(
    handle: Recorder, request: Request | None = None, options: TransferOptions = OPTIONS
) -> dict[int, Any]:
    configure(handle, request or Request(url=URL), options)
    return handle.options


def test_only_the_four_protocols_are_spoken(handle: Recorder) -> None:
    assert prepared(handle)[pycurl.PROTOCOLS] == ALLOWED


def test_redirects_are_not_libcurls(handle: Recorder) -> None:
    assert prepared(handle)[pycurl.FOLLOWLOCATION] == 0


def test_the_environment_names_no_proxy(handle: Recorder) -> None:
    assert prepared(handle)[pycurl.PROXY] == ""


def test_a_proxy_is_what_the_settings_say(handle: Recorder) -> None:
    options = replace(OPTIONS, proxy="http://proxy.example:3128")
    assert prepared(handle, options=options)[pycurl.PROXY] == "http://proxy.example:3128"


def test_connecting_has_an_end(handle: Recorder) -> None:
    assert prepared(handle)[pycurl.CONNECTTIMEOUT_MS] == 2500


def test_no_signal_reaches_a_thread(handle: Recorder) -> None:
    assert prepared(handle)[pycurl.NOSIGNAL] == 1


def test_certificates_are_checked(handle: Recorder) -> None:
    options = prepared(handle)
    assert Path(options[pycurl.CAINFO]).is_file()
    # libcurl verifies by default.
    assert options.get(pycurl.SSL_VERIFYPEER, 1) == 1
    assert options.get(pycurl.SSL_VERIFYHOST, 2) == 2


@pytest.mark.parametrize(
    ("first", "last", "asked"),
    [(None, None, None), (0, 0, "0-0"), (1, None, "1-"), (2**40, 2**41, f"{2**40}-{2**41}")],
)
def test_a_range_is_asked_for_where_one_is_wanted(
    handle: Recorder, first: int | None, last: int | None, asked: str | None
) -> None:
    request = Request(url=URL, first=first, last=last)
    assert prepared(handle, request).get(pycurl.RANGE) == asked


def test_a_given_header_replaces_ours(handle: Recorder) -> None:
    request = Request(url=URL, if_range='"a"', headers=["accept: text/plain", "X-Key: 1"])
    assert prepared(handle, request)[pycurl.HTTPHEADER] == [
        b"Accept-Encoding: identity",
        b'If-Range: "a"',
        b"accept: text/plain",
        b"X-Key: 1",
    ]


def test_a_login_is_sent_only_where_there_is_one(handle: Recorder) -> None:
    assert pycurl.USERNAME not in prepared(handle)
    options = prepared(handle, Request(url=URL, username="me", password="secret"))
    assert (options[pycurl.USERNAME], options[pycurl.PASSWORD]) == (b"me", b"secret")
    assert options[pycurl.HTTPAUTH] == pycurl.HTTPAUTH_BASIC


def test_a_servers_word_on_its_address_is_not_believed(handle: Recorder) -> None:
    """An FTP server may name any address for the data connection (RFC 2577)."""
    assert prepared(handle, Request(url="ftp://127.0.0.1:1/a"))[pycurl.FTP_SKIP_PASV_IP] == 1


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("http://a/x", "http://a:80/y?z", True),
        ("https://A.example/x", "https://a.example:443/", True),
        ("http://a/", "https://a/", False),
        ("http://a/", "http://a:8080/", False),
        ("http://a/", "http://b/", False),
        ("http://a.example/", "http://b.a.example/", False),
        ("ftp://a/x", "ftp://a:21/x", True),
    ],
)
def test_an_origin_is_scheme_host_and_port(one: str, other: str, same: bool) -> None:
    assert same_origin(one, other) is same


def test_buffers_shrink_with_the_number_of_transfers() -> None:
    sizes = [buffer_size(number) for number in (0, 1, 8, 128, 256, 1000, 100_000)]
    assert sizes == sorted(sizes, reverse=True)
    assert (sizes[0], sizes[-1]) == (512 * 1024, 32 * 1024)


def test_a_local_file_is_not_read(handle: Recorder, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    received: list[bytes] = []
    prepared(handle, Request(url=secret.as_uri()))
    handle.handle.setopt(pycurl.WRITEFUNCTION, received.append)
    with pytest.raises(pycurl.error) as caught:
        handle.handle.perform()
    assert caught.value.args[0] == pycurl.E_UNSUPPORTED_PROTOCOL
    assert received == []
