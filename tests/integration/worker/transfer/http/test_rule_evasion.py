"""Origins that try to get around a rule in unusual ways."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from domain.job import JobStatus
from tests.support.build import new_job
from tests.support.counts import set_counts
from tests.support.origins import misbehaviour as does
from tests.support.origins.behaviour import Fault, Plan, Request
from tests.support.origins.misbehaviour import Respond
from tests.support.origins.origin import Origin
from tests.support.servers.ftp import Ftp
from tests.support.servers.http_proxy import HttpProxy
from tests.support.servers.tls import Authority, TlsFront
from tests.support.services.system import System
from tests.support.services.transferring import QUICK, Direct, Downloads, overshoots
from worker.storage.destination import Checkpoint
from worker.storage.part_file import PartFile
from worker.transfer.sources import Source

S = JobStatus
SIZE, KEPT = 400_000, 250_000
OLD = "Wed, 21 Oct 2015 07:28:00 GMT"
NEW = "Thu, 22 Oct 2015 07:28:00 GMT"
BODY = b"0123456789" * 1000


# ── is it whole? ────────────────────────────────────────────────────────────────────────────────


def test_a_file_that_changed_is_not_complete_because_it_ends_where_we_stopped(
    downloads: Downloads, origin: Origin
) -> None:
    """Given only a date, and an origin that ignores If-Range: the date in the 416 shows the change."""
    kind: dict[str, Any] = {"etag": None, "chunked": True, "honour_if_range": False}
    file = origin.serve("/a.bin", size=SIZE, last_modified=OLD, reset_after=KEPT, faults=1, **kind)
    job = downloads.run(file.url)
    assert job.bytes_durable == KEPT
    changed = origin.serve("/a.bin", size=KEPT, seed="changed", last_modified=NEW, **kind)

    job = downloads.run_again(job)

    assert (job.status, job.sha256) == (S.COMPLETED, changed.sha256)


def raw(fields: bytes, body: bytes = BODY) -> Respond:
    """Exactly this header, and this body, and then the end of the connection."""
    return does.garbage(b"HTTP/1.1 200 OK\r\n" + fields + b"\r\n\r\n" + body)


@pytest.mark.parametrize("digits", [19, 20, 400])
def test_a_length_too_large_to_count_is_still_a_promise(
    downloads: Downloads, origin: Origin, digits: int
) -> None:
    """libcurl overlooks one of more than 64 bits; the body it announced has not come all the same."""
    length = b"9223372036854775807" if digits == 19 else b"9" * digits
    file = origin.serve("/a.bin", body=BODY, respond=raw(b"Content-Length: " + length))

    job = downloads.run(file.url)

    assert job.status in {S.WAITING, S.FAILED}, "a body that is shorter than its length is no file"
    assert downloads.published() == []


@pytest.mark.parametrize("said", ["bytes 0-9/10", "bytes 0-99999/100000", "bytes 5-9/*"])
def test_a_content_range_means_nothing_in_a_200(
    downloads: Downloads, origin: Origin, said: str
) -> None:
    """RFC 9110, 14.4: of other statuses than 206 and 416 it is ignored."""
    file = origin.serve("/a.bin", body=BODY, extra_headers={"Content-Range": said})

    job = downloads.run(file.url)

    assert (job.status, job.sha256, job.bytes_total) == (S.COMPLETED, file.sha256, len(BODY))


def chunked(data: bytes, trailer: bytes = b"") -> bytes:
    return b"%x\r\n%s\r\n0\r\n%s\r\n" % (len(data), data, trailer)


def test_a_transfer_encoding_is_undone_or_refused_and_never_stored(
    downloads: Downloads, origin: Origin
) -> None:
    """Unlike a content encoding it is none of the file's business."""
    answer = raw(b"Transfer-Encoding: gzip, chunked", chunked(gzip.compress(BODY)))
    file = origin.serve("/a.bin", body=BODY, respond=answer)

    job = downloads.run(file.url)

    assert job.sha256 == (file.sha256 if job.status is S.COMPLETED else None)


def test_what_a_trailer_says_comes_too_late(downloads: Downloads, origin: Origin) -> None:
    trailer = b'ETag: "x"\r\nContent-Range: bytes 0-1/2\r\nLocation: /b\r\nHTTP/1.1 404: no\r\n'
    answer = raw(b"Transfer-Encoding: chunked", chunked(BODY, trailer))
    file = origin.serve("/a.bin", body=BODY, respond=answer)

    assert downloads.run(file.url).sha256 == file.sha256
    assert len(origin.requests) == 1


NO_PROMISES = {
    "no base64": {"Repr-Digest": "sha-256=:not base64:"},
    "too short": {"Repr-Digest": "sha-256=:AAAA:"},
    "no octets": {"Repr-Digest": "sha-256=1"},
    "an unknown algorithm": {"Digest": "unixsum=3, UNIXCRC=1"},
    "a weak algorithm that is no digest": {"Content-MD5": "junk"},
}


@pytest.mark.parametrize("fields", NO_PROMISES.values(), ids=NO_PROMISES)
def test_a_digest_that_cannot_be_read_promises_nothing(
    downloads: Downloads, origin: Origin, fields: dict[str, str]
) -> None:
    file = origin.serve("/a.bin", body=BODY, extra_headers=fields)
    assert downloads.run(file.url).sha256 == file.sha256


# ── does it ever end? ───────────────────────────────────────────────────────────────────────────


def test_a_drip_of_one_byte_an_answer_ends_as_one_of_one_byte_at_a_time(
    short_timeouts: Downloads, origin: Origin
) -> None:
    """Each response is quick and complete, with one byte: the file would take a day."""
    ended_by = 100

    def drip(request: Request, plan: Plan) -> Plan:
        if plan.status == 206:
            if request.number > ended_by:
                return does.status(404)(request, plan)
            plan.stop = plan.start + 1
            plan.headers["Content-Length"] = "1"
            plan.headers["Content-Range"] = f"bytes {plan.start}-{plan.start}/{SIZE}"
            time.sleep(0.05)
        return plan

    file = origin.serve("/a.bin", size=SIZE, truncate_after=KEPT, faults=1, respond=drip)
    job = short_timeouts.run(file.url)
    assert (job.status, job.bytes_durable) == (S.WAITING, KEPT)

    job = short_timeouts.run_again(job)

    assert (job.status, job.error_code) == (S.WAITING, "timeout")
    assert len(origin.requests) < ended_by


def test_redirects_that_are_slow_one_after_the_other_are_no_drip(
    short_timeouts: Downloads, origin: Origin
) -> None:
    """Each answers within the time that an answer may take; together they take much longer."""
    file = origin.serve("/a.bin", body=BODY, delay=0.7)
    for hop, target in enumerate(["/hop1", "/hop2", "/a.bin"]):
        origin.serve(f"/hop{hop}", body=b"", redirect=target, delay=0.7)

    job = short_timeouts.run(origin.url("/hop0"))

    assert (job.status, job.sha256) == (S.COMPLETED, file.sha256), job.reason


def test_mirrors_that_say_nothing_one_after_the_other_are_no_drip(
    short_timeouts: Downloads, origin: Origin
) -> None:
    """The time that one of them may be silent is its own: the last one has the file."""
    silent = [origin.serve(f"/silent{number}", body=BODY, delay=3600.0) for number in range(3)]
    file = origin.serve("/a.bin", body=BODY)
    first, *others = [one.url for one in [*silent, file]]

    job = short_timeouts.run(first, mirrors=others)

    assert (job.status, job.sha256) == (S.COMPLETED, file.sha256), job.reason


# ── does it go where it should not? ─────────────────────────────────────────────────────────────


@pytest.fixture
def proxy() -> Iterator[HttpProxy]:
    """A proxy that would go anywhere."""
    with HttpProxy() as proxy:
        yield proxy


@pytest.mark.parametrize(("variable", "excepted"), [("no_proxy", "localhost"), ("NO_PROXY", "*")])
def test_the_environment_makes_no_way_around_the_proxy(
    direct: Direct,
    origin: Origin,
    proxy: HttpProxy,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    excepted: str,
) -> None:
    """Where there is a proxy the guard at the socket is off: a way around it leads anywhere."""
    monkeypatch.setenv(variable, excepted)
    direct.options = replace(QUICK, proxy=proxy.url)
    origin.serve("/a.bin", body=BODY)

    direct.fetch(f"http://localhost:{origin.port}/a.bin")

    assert direct.data == BODY
    assert len(proxy.passed) == len(origin.requests) == 1


NUMERALS = [
    *("127.0.0.1", "0x7f000001", "2130706433", "127.1", "0177.0.0.1", "127.0.0.1."),
    *("[::ffff:127.0.0.1]", "[::1]", "[::]", "0"),
    # libcurl decodes these after a check of what is written has passed them.
    *("%31%32%37.0.0.1", "%30x7f.1", "%31%36%39.254.169.254", "%EF%BC%91%EF%BC%92%EF%BC%97.0.0.1"),
]


@pytest.mark.parametrize("host", NUMERALS)
@pytest.mark.parametrize("is_redirect", [False, True], ids=["given", "redirected"])
def test_a_proxy_is_not_asked_for_a_private_address_however_it_is_written(
    tmp_path: Path, origin: Origin, proxy: HttpProxy, host: str, is_redirect: bool
) -> None:
    """libcurl turns each of these into dots and decimals before the proxy sees it."""
    direct = Direct(tmp_path / "direct", replace(QUICK, proxy=proxy.url), networks=())
    origin.serve("/a.bin", body=BODY)
    url = f"http://{host}:{origin.port}/a.bin"
    origin.serve("/link", body=b"", redirect=url)

    first = f"http://localhost:{origin.port}/link" if is_redirect else url

    assert direct.failure(first) == "forbidden_address"
    assert origin.requests_for("/a.bin") == []


@pytest.fixture
def ftps(tmp_path: Path, authority: Authority) -> Iterator[tuple[Ftp, TlsFront, TlsFront]]:
    """An FTP server behind TLS with a right certificate and with a wrong one; data goes in the clear."""
    folder = tmp_path / "ftp"
    folder.mkdir()
    (folder / "a.bin").write_bytes(BODY)
    with (
        Ftp(folder) as server,
        TlsFront(server.port, authority.issue("127.0.0.1")) as right,
        TlsFront(server.port, authority.issue("elsewhere.test")) as wrong,
    ):
        yield server, right, wrong


def test_ftps_does_not_send_in_the_clear_what_was_to_be_encrypted(
    direct: Direct, authority: Authority, ftps: tuple[Ftp, TlsFront, TlsFront]
) -> None:
    server, right, _ = ftps
    direct.options = replace(QUICK, ca_file=authority.ca_file)

    direct.failure(right.url("/a.bin").replace("https:", "ftps:"))

    assert "PROT P" in server.commands, "the login went well"
    assert not [one for one in server.commands if one.startswith("RETR")]


def test_ftps_checks_the_certificate_before_the_login(
    direct: Direct, authority: Authority, ftps: tuple[Ftp, TlsFront, TlsFront]
) -> None:
    server, _, wrong = ftps
    direct.options = replace(QUICK, ca_file=authority.ca_file)
    url = wrong.url("/a.bin").replace("https:", "ftps:")

    assert direct.failure(url, username="ada", password="pass") == "bad_certificate"

    assert server.commands == []


# ── who is left alone? ──────────────────────────────────────────────────────────────────────────


def test_the_host_that_asked_is_left_alone_and_not_the_one_that_led_there(
    downloads: Downloads, origin: Origin
) -> None:
    busy = f"http://localhost:{origin.port}/busy"
    origin.serve("/busy", body=BODY, status=429, retry_after="3600")
    link = origin.serve("/link", body=b"", redirect=busy)
    file = origin.serve("/b.bin", body=BODY)
    there = downloads.run(link.url)
    assert (there.status, there.error_code) == (S.WAITING, "http_429")

    here = downloads.run(file.url)
    again = downloads.run(busy)

    assert (here.status, here.sha256) == (S.COMPLETED, file.sha256)
    assert again.error_code == "host_cooling"


# ── are the numbers true? ───────────────────────────────────────────────────────────────────────


def test_readers_see_no_count_above_the_total_while_a_file_shrinks(
    system: System, origin: Origin
) -> None:
    """Asked of the store again and again, as a page does: the file is another, smaller one each time."""
    sizes = [600_000, 300_000, 100_000]

    def reduce(request: Request, plan: Plan) -> Plan:
        number = min(request.number, len(sizes)) - 1
        plan = does.changes_after(0, seed=str(number), size=sizes[number])(request, plan)
        if request.number < len(sizes):
            plan.fault = Fault("reset", sizes[number] // 2)
        return plan

    file = origin.serve("/a.bin", size=SIZE, bytes_per_second=600_000, respond=reduce)
    downloads = Downloads(system, connections=1, short_retries=5)
    job = system.submit(file.url)
    thread = threading.Thread(target=downloads.run_submitted, args=(job,), daemon=True)
    seen: set[tuple[int, int | None]] = set()
    thread.start()
    while thread.is_alive():
        now = system.runtime.cache.download.get_progress(job.id)
        if now is not None:
            seen.add((now.bytes_downloaded, now.bytes_total))
    row = downloads.check(job)
    downloads.close()

    assert (row.status, row.bytes_total) == (S.COMPLETED, sizes[-1])
    assert len({total for _, total in seen if total is not None}) > 1, (
        "the test is to see it reduce"
    )
    assert [pair for pair in seen if pair[1] is not None and pair[0] > pair[1]] == []


def test_an_attempt_that_finds_a_smaller_file_reports_at_most_its_size(
    direct: Direct, origin: Origin
) -> None:
    """SQL has the size of an earlier, larger file: its worker crashed between checkpoint and SQL."""
    file = origin.serve("/a.bin", size=100_000, etag='"1"')
    direct.job = new_job(bytes_downloaded=300_000, bytes_durable=300_000, bytes_total=600_000)
    with PartFile(direct.folder, direct.job.id) as part:
        part.write_at([file.body_slice(0, 50_000)], 0)
        part.write_checkpoint(
            Checkpoint(
                written=((0, 50_000),),
                total=100_000,
                validator='"1"',
                etag='"1"',
                source=Source(file.url).digest,
            )
        )

    direct.fetch(file.url)

    assert direct.data == file.body_slice(0, 100_000)


def test_a_count_above_the_total_is_noticed_also_where_the_attempt_fails(
    direct: Direct, origin: Origin
) -> None:
    """Guards the guard: an attempt that ends with an error is checked as one that ends well."""

    def count_too_much() -> None:
        assert direct.tracker is not None
        set_counts(direct.tracker, downloaded=SIZE + 1)

    direct.check_may_write = count_too_much
    url = origin.serve("/a.bin", size=SIZE, reset_after=KEPT).url

    with pytest.raises(AssertionError):
        direct.failure(url)
    assert direct.tracker is not None
    assert overshoots(direct.tracker)
