"""Origins that misbehave: the file is right to the byte, or the job ended with the right reason.

Each runs twice: over one connection, and over four that share small pieces. Bodies are paced so that
there is time to share them.
"""

from __future__ import annotations

import gzip
import hashlib
from base64 import b64encode
from dataclasses import replace
from email.utils import formatdate
from typing import Any

import pytest

from domain.job import JobStatus
from tests.support.origins import misbehaviour as bad
from tests.support.origins.behaviour import Plan, Request
from tests.support.origins.misbehaviour import Respond
from tests.support.origins.origin import Origin, ServedFile
from tests.support.services.engine import ALONE, SHARING, run_to_the_end
from tests.support.services.system import System

SIZE = 600_000
RATE = 1_500_000
LAYOUTS = [pytest.param(ALONE, id="alone"), pytest.param(SHARING, id="sharing")]
OLD = formatdate(1_000_000_000, usegmt=True)


def fields(**changes: str) -> Respond:
    """Set header fields, written with _ for -."""

    def respond(_request: Request, plan: Plan) -> Plan:
        return replace(
            plan, headers=plan.headers | {k.replace("_", "-"): v for k, v in changes.items()}
        )

    return respond


def serve(origin: Origin, **behaviour: Any) -> ServedFile:
    return origin.serve("/a.bin", size=SIZE, **{"bytes_per_second": RATE, **behaviour})


def files(system: System) -> list[str]:
    return sorted(path.name for path in system.downloads.iterdir() if path.name[0] != ".")


#: What an origin does, and we get the file all the same.
RIGHT: dict[str, dict[str, Any]] = {
    "nothing wrong": {},
    "no ranges, and says so": {"ranges": False},
    "no ranges, and says it has": {"ranges": False, "respond": bad.says_ranges("bytes")},
    "ranges, and says it has none": {"respond": bad.says_ranges("none")},
    "no validator": {"etag": None},
    "a weak tag": {"etag": 'W/"weak"'},
    "a date": {"etag": None, "last_modified": OLD},
    "a date of this moment": {"etag": None, "last_modified": formatdate(usegmt=True)},
    "a reset after every 100,000 bytes": {"reset_after": 100_000},
    "an end after every 100,000 bytes": {"truncate_after": 100_000},
    "an end after 100,000 bytes, once, without validator": {
        "truncate_after": 100_000,
        "faults": 1,
        "etag": None,
    },
    "an end after 100,000 bytes, once, with a weak tag": {
        "truncate_after": 100_000,
        "faults": 1,
        "etag": 'W/"weak"',
    },
    "an end after 100,000 bytes, once, and no ranges": {
        "truncate_after": 100_000,
        "faults": 1,
        "ranges": False,
    },
    "an end after 100,000 bytes, once; a tag is answered with all of it": {
        "truncate_after": 100_000,
        "faults": 1,
        "last_modified": OLD,
        "respond": bad.only_by_date(),
    },
    "a hang in the middle, once": {"hang_after": 100_000, "faults": 1},
    "no length": {"send_length": False},
    "chunks": {"chunked": True},
    "chunks that break off, once": {"chunked": True, "truncate_after": 100_000, "faults": 1},
    "a Content-Range one byte off": {
        "wrong_content_range": True,
        "truncate_after": 300_000,
        "faults": 1,
    },
    "a Content-Range that ends elsewhere": {
        "respond": bad.content_range(
            lambda first, _last, _total: f"bytes {first}-{SIZE + 9}/{SIZE + 10}"
        ),
        "truncate_after": 300_000,
        "faults": 1,
    },
    "no Content-Range": {
        "respond": bad.content_range(None),
        "truncate_after": 300_000,
        "faults": 1,
    },
    "a Content-Range of something else": {
        "respond": bad.content_range(lambda first, last, total: f"items {first}-{last}/{total}"),
        "truncate_after": 300_000,
        "faults": 1,
    },
    "a part that is longer than it says": {
        "respond": bad.longer_than_its_range(1000),
        "truncate_after": 300_000,
        "faults": 1,
    },
    "parts of no more than 50,000 bytes": {
        "respond": bad.for_ranges(
            lambda _request, plan: _shortened(plan),
        ),
        "truncate_after": 300_000,
        "faults": 1,
    },
    "no more than two at once": {"respond": bad.at_most(2)},
    "no more than one at once": {"respond": bad.at_most(1)},
    "busy, twice": {"statuses": [503, 503]},
    "too many requests, for a second": {"statuses": [429], "retry_after": "1"},
    "too many requests, until a date": {
        "statuses": [429],
        "retry_after": "Fri, 01 Jan 2010 00:00:00 GMT",
    },
    "a timeout of its own": {"statuses": [408, 425]},
    "a first answer of garbage": {"statuses": [502]},
}


def _shortened(plan: Any) -> Any:
    plan.stop = min(plan.stop, plan.start + 50_000)
    plan.headers["Content-Length"] = str(plan.length)
    plan.headers["Content-Range"] = f"bytes {plan.start}-{plan.stop - 1}/{SIZE}"
    plan.fault = None
    return plan


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", RIGHT)
def test_the_file_is_right(
    system: System, origin: Origin, name: str, layout: dict[str, Any]
) -> None:
    file = serve(origin, **RIGHT[name])
    job = system.submit(file.url)
    row = run_to_the_end(
        system, job, attempts=4, short_retries=8, retry_pause=0.05, low_speed_time=0.7, **layout
    )
    assert (row.status, row.error_code) == (JobStatus.COMPLETED, None), row.reason
    assert (row.sha256, row.bytes_total) == (file.sha256, SIZE)
    assert (system.downloads / "a.bin").read_bytes() == file.body_slice(0, SIZE)
    assert files(system) == ["a.bin"]


#: What an origin does, and the job ends with this reason and without a file.
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "not there": ({"status": 404}, "http_404"),
    "gone": ({"status": 410}, "http_410"),
    "forbidden": ({"status": 403}, "http_403"),
    "unauthorised": ({"status": 401}, "http_401"),
    "illegal": ({"status": 451}, "http_451"),
    "always broken": ({"status": 500}, "http_500"),
    "always busy": ({"status": 503}, "http_503"),
    "never the right moment": ({"status": 429, "retry_after": "1"}, "http_429"),
    "busy for a million years": ({"status": 503, "retry_after": "9" * 20}, "http_503"),
    "no content": ({"status": 204}, "http_204"),
    "not modified, unasked": ({"status": 304}, "http_304"),
    "a redirect without Location": ({"status": 302}, "http_302"),
    "a part, unasked": (
        {
            "respond": lambda _request, plan: fields(content_range=f"bytes 0-9/{SIZE}")(
                _request, _as_part(plan)
            )
        },
        "bad_range",
    ),
    "a redirect to itself": ({"redirect": "/a.bin"}, "too_many_redirects"),
    "a redirect to a file": ({"redirect": "file:///etc/passwd"}, "unsafe_redirect"),
    "a redirect to gopher": ({"redirect": "gopher://127.0.0.1/"}, "unsafe_redirect"),
    "a redirect to ftp": ({"redirect": "ftp://127.0.0.1/a"}, "unsafe_redirect"),
    "a redirect with a password": ({"redirect": "http://a:b@127.0.0.1/"}, "unsafe_redirect"),
    "a redirect to a bad port": ({"redirect": "http://127.0.0.1:99999/"}, "unsafe_redirect"),
    "a redirect to the cloud's secrets": (
        {"redirect": "http://169.254.169.254/latest/meta-data"},
        "forbidden_address",
    ),
    "a redirect to a private address": ({"redirect": "http://10.0.0.1/"}, "forbidden_address"),
    "a redirect to ourselves, mapped": (
        {"redirect": "http://[::ffff:10.0.0.1]/"},
        "forbidden_address",
    ),
    "a redirect to an address in octal": ({"redirect": "http://0x0a000001/"}, "forbidden_address"),
    "one header of 1 MB": ({"respond": bad.big_header(1_000_000)}, "headers_too_large"),
    "many headers, 1 MB": (
        {"respond": bad.big_header(1_000_000, fields=1000)},
        "headers_too_large",
    ),
    "1xx without end": (
        {"respond": bad.endless_interim()},
        "headers_too_large",
    ),
    "garbage": ({"respond": bad.garbage()}, "bad_response"),
    "nothing": ({"respond": bad.nothing()}, "empty_reply"),
    "half a header": ({"respond": bad.garbage(b"HTTP/1.1 200 OK\r\nContent-")}, "reset"),
    "a wrong digest": (
        {"respond": fields(repr_digest=f"sha-256=:{b64encode(b'x' * 32).decode()}:")},
        "checksum_mismatch",
    ),
    "a wrong digest of old": (
        {"respond": fields(digest=f"MD5={b64encode(b'x' * 16).decode()}")},
        "checksum_mismatch",
    ),
    "less than it says, always": ({"lie_length": 1000, "ranges": False}, "truncated"),
    "a hang before the header": ({"delay": 30.0}, "timeout"),
    "a hang after the header": ({"hang_after": 0}, "timeout"),
    "a drip": ({"bytes_per_second": 2}, "timeout"),
}


def _as_part(plan: Any) -> Any:
    plan.status, plan.stop = 206, 10
    plan.headers["Content-Length"] = "10"
    return plan


@pytest.mark.parametrize("name", WRONG)
def test_the_reason_is_right_and_there_is_no_file(
    system: System, origin: Origin, name: str
) -> None:
    behaviour, code = WRONG[name]
    file = serve(origin, **behaviour)
    job = system.submit(file.url, max_attempts=2)
    row = run_to_the_end(
        system,
        job,
        attempts=2,
        short_retries=1,
        retry_pause=0.05,
        low_speed_time=0.7,
        low_speed_limit=100,
        **ALONE,
    )
    assert (row.status, row.error_code) == (JobStatus.FAILED, code), row.reason
    assert row.reason
    assert files(system) == []


# ── what changes on the way ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_file_that_changes_half_way_is_fetched_from_the_start(
    system: System, origin: Origin, layout: dict[str, Any]
) -> None:
    serve(origin, truncate_after=300_000, seed="old")
    job = system.submit(origin.url("/a.bin"))
    run_to_the_end(system, job, attempts=1, short_retries=0, **ALONE)
    new = serve(origin, seed="new")
    row = run_to_the_end(system, job, attempts=3, short_retries=0, **layout)
    assert (row.status, row.sha256) == (JobStatus.COMPLETED, new.sha256)
    assert (system.downloads / "a.bin").read_bytes() == new.body_slice(0, SIZE)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_origin_that_ignores_if_range_does_not_join_two_files(
    system: System, origin: Origin, layout: dict[str, Any]
) -> None:
    serve(origin, truncate_after=300_000, seed="old")
    job = system.submit(origin.url("/a.bin"))
    run_to_the_end(system, job, attempts=1, short_retries=0, **ALONE)
    new = serve(origin, seed="new", honour_if_range=False)
    row = run_to_the_end(system, job, attempts=3, short_retries=0, **layout)
    assert (row.status, row.sha256) == (JobStatus.COMPLETED, new.sha256)


def test_a_file_that_grew_is_fetched_from_the_start(system: System, origin: Origin) -> None:
    origin.serve("/a.bin", size=SIZE, truncate_after=300_000, etag='"same"')
    job = system.submit(origin.url("/a.bin"))
    run_to_the_end(system, job, attempts=1, short_retries=0)
    new = origin.serve("/a.bin", size=SIZE + 1, etag='"same"', seed="new")
    row = run_to_the_end(system, job, attempts=3, short_retries=0)
    assert (row.status, row.sha256, row.bytes_total) == (JobStatus.COMPLETED, new.sha256, SIZE + 1)


def test_a_wrong_checksum_is_fetched_twice_and_no_more(system: System, origin: Origin) -> None:
    file = serve(origin, bytes_per_second=None)
    job = system.submit(file.url, checksum=f"md5:{'0' * 32}")
    row = run_to_the_end(system, job)
    assert (row.status, row.error_code) == (JobStatus.FAILED, "checksum_mismatch")
    assert [entry.range for entry in origin.requests_for("/a.bin")] == [None, None]
    assert list(system.downloads.iterdir()) == []


@pytest.mark.parametrize("algorithm", ["md5", "sha1", "sha256", "sha512", "blake2b"])
def test_any_checksum_of_the_callers_is_checked(
    system: System, origin: Origin, algorithm: str
) -> None:
    file = serve(origin, bytes_per_second=None)
    digest = hashlib.new(algorithm, file.body_slice(0, SIZE)).hexdigest()
    row = run_to_the_end(system, system.submit(file.url, checksum=f"{algorithm}:{digest}"))
    assert (row.status, row.sha256) == (JobStatus.COMPLETED, file.sha256)


# ── sizes and encodings ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("size", [0, 1, 16_384, 65_537])
def test_any_size(system: System, origin: Origin, size: int, layout: dict[str, Any]) -> None:
    file = origin.serve("/a.bin", size=size)
    row = run_to_the_end(system, system.submit(file.url), **layout)
    assert (row.status, row.sha256) == (JobStatus.COMPLETED, file.sha256)
    assert (row.bytes_total, row.bytes_durable) == (size, size)


def test_what_is_encoded_against_our_will_is_stored_as_it_is_sent(
    system: System, origin: Origin
) -> None:
    packed = gzip.compress(b"hello" * 1000)
    file = origin.serve("/a.bin", body=packed, content_encoding="gzip")
    row = run_to_the_end(system, system.submit(file.url))
    assert (row.status, row.bytes_total) == (JobStatus.COMPLETED, len(packed))
    assert (system.downloads / "a.bin").read_bytes() == packed
    assert origin.requests[0].headers["accept-encoding"] == "identity"


# ── over several connections ────────────────────────────────────────────────────────────────────


def test_a_large_file_is_shared_out_and_no_byte_is_asked_for_twice(
    system: System, origin: Origin
) -> None:
    file = serve(origin, bytes_per_second=400_000)
    row = run_to_the_end(system, system.submit(file.url), **SHARING)
    assert row.sha256 == file.sha256
    assert origin.max_concurrent("/a.bin") == 4
    first, *others = origin.requests_for("/a.bin")
    assert first.range is None, "the first request is the first transfer, not a probe"
    assert len(others) >= 3
    assert all(entry.headers["if-range"] == file.etag for entry in others)
    spans = sorted((entry.range or (0, 0)) for entry in others)
    asked = [start for start, _ in spans]
    assert len(set(asked)) == len(asked)


def test_a_fast_file_is_not_shared(system: System, origin: Origin) -> None:
    file = origin.serve("/a.bin", size=5_000_000)
    row = run_to_the_end(system, system.submit(file.url), connections=4)
    assert row.sha256 == file.sha256
    assert len(origin.requests_for("/a.bin")) == 1


def test_a_connection_that_stands_still_gives_its_piece_to_another(
    system: System, origin: Origin
) -> None:
    file = serve(origin, hang_after=60_000, faults=1)
    row = run_to_the_end(system, system.submit(file.url), low_speed_time=20.0, **SHARING)
    assert (row.status, row.attempts, row.sha256) == (JobStatus.COMPLETED, 1, file.sha256)
