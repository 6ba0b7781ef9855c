"""What follows from an HTTP status, from a libcurl code, and from Retry-After."""

from __future__ import annotations

import socket
import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pycurl
import pytest

from domain.errors import PermanentError, TransientError
from tests.support.servers.process import free_port
from worker.transfer.http.error_mapping import (
    E_PROXY,
    E_TOO_LARGE,
    error_for_curl_code,
    error_for_status,
    parse_retry_after,
)
from worker.transfer.http.statuses import Meaning, meaning


@pytest.mark.parametrize("status", [0, *range(100, 1000)])
def test_every_status_that_is_no_success_has_a_verdict(status: int) -> None:
    expected = TransientError if meaning(status) is Meaning.RETRY else PermanentError
    verdict = error_for_status(status)
    assert type(verdict) is expected
    assert verdict.code == f"http_{status}"
    assert str(status) in str(verdict)


def test_a_status_is_shown_with_its_phrase() -> None:
    assert str(error_for_status(404)) == "The origin answered 404 Not Found."
    assert str(error_for_status(599)) == "The origin answered 599."


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (101, "interim"),
        (202, "still preparing"),
        (204, "no content"),
        (205, "no content"),
        (300, "several versions"),
        (302, "no Location"),
        (304, "no condition"),
        (305, "proxy of its own"),
        (423, "locked"),
        (451, "legal"),
        (511, "captive portal"),
        (999, "not valid"),
    ],
)
def test_status_without_a_file_says_in_words_why(status: int, words: str) -> None:
    assert words in str(error_for_status(status))


@pytest.mark.parametrize("status", [403, 413])
def test_refusal_with_retry_after_is_temporary(status: int) -> None:
    assert isinstance(error_for_status(status), PermanentError)
    assert isinstance(error_for_status(status, "soon"), PermanentError)
    later = error_for_status(status, "7")
    assert isinstance(later, TransientError)
    assert later.retry_after == 7


def test_only_a_transient_verdict_carries_retry_after() -> None:
    assert getattr(error_for_status(503, "7"), "retry_after", None) == 7
    assert error_for_status(503).__dict__["retry_after"] is None
    assert not hasattr(error_for_status(404, "7"), "retry_after")


@pytest.mark.parametrize(
    ("code", "kind", "word"),
    [
        (pycurl.E_UNSUPPORTED_PROTOCOL, TransientError, "bad_response"),
        (pycurl.E_FTP_WEIRD_SERVER_REPLY, TransientError, "bad_response"),
        (pycurl.E_URL_MALFORMAT, PermanentError, "bad_url"),
        (pycurl.E_REMOTE_FILE_NOT_FOUND, PermanentError, "not_found"),
        (pycurl.E_REMOTE_ACCESS_DENIED, PermanentError, "access_denied"),
        (pycurl.E_LOGIN_DENIED, PermanentError, "login_denied"),
        (E_TOO_LARGE, PermanentError, "headers_too_large"),
        (pycurl.E_PEER_FAILED_VERIFICATION, PermanentError, "bad_certificate"),
        (pycurl.E_SSL_CACERT_BADFILE, PermanentError, "bad_ca_file"),
        (pycurl.E_COULDNT_RESOLVE_HOST, TransientError, "dns"),
        (pycurl.E_COULDNT_RESOLVE_PROXY, TransientError, "proxy_dns"),
        (E_PROXY, TransientError, "proxy"),
        (pycurl.E_COULDNT_CONNECT, TransientError, "connect"),
        (pycurl.E_OPERATION_TIMEDOUT, TransientError, "timeout"),
        (pycurl.E_PARTIAL_FILE, TransientError, "truncated"),
        (pycurl.E_SSL_CONNECT_ERROR, TransientError, "tls"),
        (pycurl.E_GOT_NOTHING, TransientError, "empty_reply"),
        (pycurl.E_FTP_COULDNT_USE_REST, TransientError, "bad_range"),
        (pycurl.E_RANGE_ERROR, TransientError, "bad_range"),
        (pycurl.E_BAD_DOWNLOAD_RESUME, TransientError, "bad_range"),
        (pycurl.E_RECV_ERROR, TransientError, "reset"),
        (pycurl.E_SEND_ERROR, TransientError, "reset"),
        (pycurl.E_HTTP2, TransientError, f"curl_{pycurl.E_HTTP2}"),
        (9999, TransientError, "curl_9999"),
    ],
)
def test_a_libcurl_code(code: int, kind: type[Exception], word: str) -> None:
    verdict = error_for_curl_code(code, "libcurl's own words")
    assert type(verdict) is kind
    assert verdict.code == word
    assert "libcurl's own words" in str(verdict)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("0", 0),
        ("120", 120),
        (" 120 ", 120),
        ("9" * 400, float("inf")),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        (None, None),
        ("Mon, 99 Foo 2026 99:99:99 GMT", None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
        ("Wed, 21 Oct 2015 07:28:00 -0000", 0),
        ("Wed, 21 Oct 99999 07:28:00 GMT", None),
        ("Wed, 21 Oct 2015 07:28:00 +99999999999999999999", None),
    ],
)
def test_retry_after_in_seconds_or_as_a_date(header: str | None, seconds: float | None) -> None:
    assert parse_retry_after(header) == seconds


@pytest.mark.parametrize("zone", [UTC, None])
def test_a_date_to_come_is_so_many_seconds_away(zone: object) -> None:
    moment = datetime.now(UTC) + timedelta(seconds=90)
    header = format_datetime(moment if zone else moment.replace(tzinfo=None), usegmt=bool(zone))
    seconds = parse_retry_after(header)
    assert seconds is not None
    assert 80 < seconds <= 90


# ── that libcurl says what the table expects of it ──────────────────────────────────────────────


def failure(url: str, **options: int) -> TransientError | PermanentError:
    """Return the verdict on a real request."""
    handle = pycurl.Curl()
    handle.setopt(pycurl.URL, url)
    handle.setopt(pycurl.WRITEFUNCTION, len)
    handle.setopt(pycurl.PROXY, "")
    for name, value in options.items():
        handle.setopt(getattr(pycurl, name), value)
    try:
        with pytest.raises(pycurl.error) as caught:
            handle.perform()
    finally:
        handle.close()
    return error_for_curl_code(*caught.value.args)


def test_a_port_that_nobody_listens_on() -> None:
    verdict = failure(f"http://127.0.0.1:{free_port()}/")
    assert (type(verdict), verdict.code) == (TransientError, "connect")


def test_a_listener_that_says_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        verdict = failure(url, TIMEOUT_MS=100)
    assert (type(verdict), verdict.code) == (TransientError, "timeout")


@pytest.mark.parametrize(
    ("said", "word"),
    [
        (b"", "empty_reply"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n1234", "truncated"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n123", "truncated"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n", "reset"),
        (b"nonsense\r\n\r\n", "bad_response"),
    ],
)
def test_a_server_that_says_too_little(said: bytes, word: str) -> None:
    verdict = answered(said, "http")
    assert (type(verdict), verdict.code) == (TransientError, word)


def test_a_server_that_does_not_speak_tls() -> None:
    verdict = answered(b"HTTP/1.1 400 Bad Request\r\n\r\n", "https")
    assert (type(verdict), verdict.code) == (TransientError, "tls")


def answered(said: bytes, scheme: str) -> TransientError | PermanentError:
    """Return the verdict on a server that says this to the first who asks, and closes."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(said)

        thread = threading.Thread(target=serve)
        thread.start()
        verdict = failure(f"{scheme}://127.0.0.1:{server.getsockname()[1]}/", TIMEOUT_MS=5000)
        thread.join()
    return verdict
