"""Answers that are none, headers that are too much, statuses that carry no file, names that attack."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from domain.job import JobStatus
from tests.support.origins import misbehaviour as does
from tests.support.origins.origin import Origin
from tests.support.services.transferring import Downloads
from tests.support.wait import wait_until

S = JobStatus
BODY = b"0123456789" * 1000

RAW = b"HTTP/1.1 200 OK\r\n%s\r\n\r\n" + BODY

ANSWERS = {
    "a megabyte in one field": (
        {"respond": does.big_header(1_000_000)},
        S.FAILED,
        "headers_too_large",
    ),
    "a megabyte in many fields": (
        {"respond": does.big_header(1_000_000, 2000)},
        S.FAILED,
        "headers_too_large",
    ),
    "endless interim answers": (
        {"respond": does.endless_interim()},
        S.FAILED,
        "headers_too_large",
    ),
    "garbage": ({"respond": does.garbage()}, S.WAITING, "bad_response"),
    "a status line of another protocol": (
        {"respond": does.garbage(b"SSH-2.0-OpenSSH_9.2\r\n" * 4)},
        S.WAITING,
        "bad_response",
    ),
    "a status that is no number": (
        {"respond": does.garbage(b"HTTP/1.1 abc OK\r\nContent-Length: 2\r\n\r\nhi")},
        S.WAITING,
        "bad_response",
    ),
    "a body without a header": ({"respond": does.garbage(BODY)}, S.WAITING, "bad_response"),
    "nothing": ({"respond": does.nothing()}, S.WAITING, "empty_reply"),
    "silence": ({"delay": 3600.0}, S.WAITING, "timeout"),
    "half a status line": ({"respond": does.stops_in_header(8)}, S.WAITING, "timeout"),
    "half a header": ({"respond": does.stops_in_header(60)}, S.WAITING, "timeout"),
    "a header and no body": ({"hang_after": 0}, S.WAITING, "timeout"),
    "half a body": ({"respond": does.hangs_from(5000)}, S.WAITING, "timeout"),
    "a byte now and then": ({"bytes_per_second": 20}, S.WAITING, "timeout"),
    "two lengths": (
        {"respond": does.garbage(RAW % b"Content-Length: 10\r\nContent-Length: 10000")},
        S.WAITING,
        "bad_response",
    ),
    "a negative length": (
        {"respond": does.garbage(RAW % b"Content-Length: -5")},
        S.WAITING,
        "bad_response",
    ),
    "chunks that are none": (
        {"respond": does.garbage(RAW % b"Transfer-Encoding: chunked")},
        S.WAITING,
        None,
    ),
    "204": ({"respond": does.status(204)}, S.FAILED, "http_204"),
    "205": ({"respond": does.status(205)}, S.FAILED, "http_205"),
    "304": ({"respond": does.status(304)}, S.FAILED, "http_304"),
    "416 to no range": ({"respond": does.status(416)}, S.FAILED, "http_416"),
    "418": ({"respond": does.status(418)}, S.FAILED, "http_418"),
    "999": ({"respond": does.status(999)}, S.WAITING, "http_999"),
}


@pytest.mark.parametrize(("behaviour", "status", "code"), ANSWERS.values(), ids=ANSWERS)
def test_an_answer_without_a_file_leaves_none(
    short_timeouts: Downloads,
    origin: Origin,
    behaviour: dict[str, Any],
    status: JobStatus,
    code: str | None,
) -> None:
    job = short_timeouts.run(origin.serve("/a.bin", body=BODY, **behaviour).url)

    assert job.status is status, job.reason
    if code is None:
        assert job.error_code is not None
    else:
        assert job.error_code == code
    assert short_timeouts.published() == []


def test_a_large_header_that_is_not_too_large(downloads: Downloads, origin: Origin) -> None:
    file = origin.serve("/a.bin", body=BODY, respond=does.big_header(60_000, 3))
    assert downloads.run(file.url).sha256 == file.sha256


def test_interim_answers_before_the_real_one(downloads: Downloads, origin: Origin) -> None:
    head = b"HTTP/1.1 103 Early Hints\r\nContent-Length: 3\r\nETag: x\r\n\r\n"
    head += b"HTTP/1.1 102 Processing\r\n\r\n"
    answer = head + RAW % b"Content-Length: 10000"
    file = origin.serve("/a.bin", body=BODY, respond=does.garbage(answer))
    assert downloads.run(file.url).sha256 == file.sha256


NAMES = {
    "a path": ('attachment; filename="../../etc/passwd"', "passwd"),
    "a path of Windows": (r'attachment; filename="..\\..\\boot.ini"', "boot.ini"),
    "an absolute path": ('attachment; filename="/etc/passwd"', "passwd"),
    "an encoded path": ("attachment; filename*=UTF-8''..%2F..%2Fpass%20wd", "pass wd"),
    "a name that is only dots": ('attachment; filename=".."', "download"),
    "a name with a leading dot": ('attachment; filename=".gitignore"', ".gitignore"),
    "the name of a part file": ('attachment; filename=".seen-x.part"', "seen-x.part"),
    "a device of Windows": ('attachment; filename="aux.c"', "aux.c"),
    "right to left": ("attachment; filename*=UTF-8''a%E2%80%AEgpj.exe", "agpj.exe"),
    "a NUL": ("attachment; filename*=UTF-8''a%00b.txt", "ab.txt"),
    "a new line": ("attachment; filename*=UTF-8''a%0d%0ab.txt", "ab.txt"),
    "nothing": ('attachment; filename=""', "url.bin"),
    "the same in two forms": ("attachment; filename*=UTF-8''a.pdf; filename*0=b", "a.pdf"),
    "an unclosed quote": ('attachment; filename="a.pdf', "a.pdf"),
    "two headers in one": ('attachment; filename="a.pdf", attachment; filename="b.pdf"', "a.pdf"),
    "a letter whose UTF-8 ends in 0xA0": ("attachment; filename=voil\xc3\xa0", "voilà"),
    "joined emoji": (
        "attachment; filename*=UTF-8''%F0%9F%91%A9%E2%80%8D%F0%9F%9A%80",
        "👩\u200d🚀",
    ),
    "umlauts": ("attachment; filename=\"x\"; filename*=UTF-8''%C3%A4.txt", "ä.txt"),
    "too long": (f'attachment; filename="{"x" * 500}.tar"', "x" * 196 + ".tar"),
}


@pytest.mark.parametrize(("said", "name"), NAMES.values(), ids=NAMES)
def test_a_name_from_the_origin_stays_in_its_folder(
    downloads: Downloads, origin: Origin, said: str, name: str
) -> None:
    file = origin.serve("/url.bin", body=BODY, content_disposition=said)

    job = downloads.run(file.url, directory="sub")

    assert job.status is S.COMPLETED
    assert downloads.published() == [downloads.system.downloads / "sub" / name]
    assert (downloads.system.downloads / "sub" / name).read_bytes() == BODY


def test_a_job_that_is_stopped_leaves_a_silent_origin_soon(
    downloads: Downloads, origin: Origin
) -> None:
    """A control request does not wait for the timeout of the response header."""
    file = origin.serve("/a.bin", body=BODY, delay=3600.0)
    job = downloads.system.submit(file.url)
    thread = threading.Thread(target=downloads.run_submitted, args=(job,))
    thread.start()
    wait_until(lambda: origin.requests)
    downloads.runtime.drain.start()
    thread.join(30)

    assert downloads.check(job).status is S.QUEUED
