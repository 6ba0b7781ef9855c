"""Where a redirect may lead, and what goes along."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from domain.job import JobStatus
from domain.request import DownloadRequest
from tests.support.net import has_ipv6
from tests.support.origins import misbehaviour as does
from tests.support.origins.behaviour import Plan, Request
from tests.support.origins.origin import Origin
from tests.support.services.transferring import Direct, Downloads

BODY = b"0123456789" * 1000


@pytest.fixture
def elsewhere() -> Iterator[Origin]:
    """Another origin: another port."""
    with Origin() as origin:
        yield origin


def chain(origin: Origin, hops: int, target: str, *, status: int = 302) -> str:
    """Serve so many redirects that lead to `target` in the end; return the first one's URL."""
    for number in range(hops):
        location = target if number == hops - 1 else f"/hop{number + 1}"
        origin.serve(f"/hop{number}", body=b"", redirect=location, status=status)
    return origin.url("/hop0")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_every_kind_of_redirect_is_followed(
    downloads: Downloads, origin: Origin, status: int
) -> None:
    file = origin.serve("/a.bin", body=BODY)

    job = downloads.run(chain(origin, 2, "/a.bin", status=status))

    assert (job.status, job.sha256) == (JobStatus.COMPLETED, file.sha256)


def test_as_many_redirects_as_allowed(downloads: Downloads, origin: Origin) -> None:
    """`QUICK` allows five."""
    file = origin.serve("/a.bin", body=BODY)
    assert downloads.run(chain(origin, 5, "/a.bin")).sha256 == file.sha256
    assert downloads.run(chain(origin, 6, "/a.bin")).error_code == "too_many_redirects"


def test_a_loop_ends(downloads: Downloads, origin: Origin) -> None:
    origin.serve("/a", body=b"", redirect="/b")
    origin.serve("/b", body=b"", redirect="/a")

    job = downloads.run(origin.url("/a"))

    assert (job.status, job.error_code) == (JobStatus.FAILED, "too_many_redirects")
    assert len(origin.requests) == 6


WRITTEN = {
    "a path": "/dir/a%20b.bin",
    "relative": "a%20b.bin",
    "from above": "../dir/./a%20b.bin",
    "without scheme": "//127.0.0.1:{port}/dir/a%20b.bin",
    "whole": "http://127.0.0.1:{port}/dir/a%20b.bin",
    "a raw space": "/dir/a b.bin",
    "with a fragment": "/dir/a%20b.bin#part",
    "an upper-case scheme": "HTTP://127.0.0.1:{port}/dir/a%20b.bin",
}


@pytest.mark.parametrize("location", WRITTEN.values(), ids=WRITTEN)
def test_a_location_is_read_as_browsers_do(
    downloads: Downloads, origin: Origin, location: str
) -> None:
    file = origin.serve("/dir/a%20b.bin", body=BODY)
    link = origin.serve("/dir/link", body=b"", redirect=location.format(port=origin.port))

    assert downloads.run(link.url).sha256 == file.sha256


@pytest.mark.parametrize("raw", ["é".encode(), b"\xe9", "à".encode(), b"\xa0\x85"])
def test_raw_octets_in_a_location_are_asked_for_as_they_stand(
    downloads: Downloads, origin: Origin, raw: bytes
) -> None:
    encoded = "".join(f"%{octet:02X}" for octet in raw)
    file = origin.serve(f"/dir/{encoded}", body=BODY)
    link = origin.serve("/dir/link", body=b"", redirect=f"/dir/{raw.decode('latin-1')}")

    assert downloads.run(link.url).sha256 == file.sha256


@pytest.mark.parametrize(
    "location",
    [
        "http://[::1]:{port}/b\xc3\xa9.bin",
        "//[0:0::1]:{port}/b\xc3\xa9.bin",
        "b\xc3\xa9.bin",
        "\\b\xc3\xa9.bin",
    ],
)
@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 loopback")
def test_an_ipv6_origin_keeps_its_brackets(tmp_path: Path, location: str) -> None:
    with Origin("::1") as origin:
        origin.serve("/b%C3%A9.bin", body=BODY)
        origin.serve("/%C3%A9.bin", body=b"", redirect=location.format(port=origin.port))
        request = DownloadRequest(url=origin.url("/é.bin"))
        direct = Direct(tmp_path / "direct", networks=("::1/128",))

        direct.fetch(request.url)

        assert direct.data == BODY


REFUSED = {
    "a private address": ("http://10.0.0.1/a", "forbidden_address"),
    "a private address in hexadecimal": ("http://0x0a000001/a", "forbidden_address"),
    "link-local": ("http://169.254.1.1/a", "forbidden_address"),
    "metadata": ("http://169.254.169.254/latest/meta-data", "forbidden_address"),
    "metadata as a number": ("http://2852039166/latest", "forbidden_address"),
    "this host, by another address": ("http://0.0.0.0:{port}/a", "forbidden_address"),
    "IPv6 loopback": ("http://[::1]:{port}/a", "forbidden_address"),
    "IPv4 in IPv6": ("http://[::ffff:10.0.0.1]/a", "forbidden_address"),
    "NAT64": ("http://[64:ff9b::a00:1]/a", "forbidden_address"),
    "unique local": ("http://[fd00:ec2::254]/a", "forbidden_address"),
    "multicast": ("http://224.0.0.1/a", "forbidden_address"),
    "a file": ("file:///etc/passwd", "unsafe_redirect"),
    "ftp": ("ftp://127.0.0.1:{port}/a", "unsafe_redirect"),
    "gopher": ("gopher://127.0.0.1:{port}/a", "unsafe_redirect"),
    "a login": ("http://ada:pass@127.0.0.1:{port}/a", "unsafe_redirect"),
    "no port": ("http://127.0.0.1:port/a", "unsafe_redirect"),
    "a broken address": ("http://[::1/a", "unsafe_redirect"),
    "broken brackets": ("http://[é]/a".encode().decode("latin-1"), "unsafe_redirect"),
    "a host that is not UTF-8": ("http://b\xfccher.example/a", "unsafe_redirect"),
    "a host with a backslash": ("http://127.0.0.1:{port}\\@10.0.0.1/a", "unsafe_redirect"),
    "a number that is no address": ("http://127.0.0.256/a", "unsafe_redirect"),
    "metadata, percent-encoded": ("http://%31%36%39.254.169.254/a", "forbidden_address"),
    "IPv6's documentation": ("http://[3fff::1]/a", "forbidden_address"),
    "script": ("javascript:alert(1)", "unsafe_redirect"),
    "a control character": ("/a\x01b", "unsafe_redirect"),
    "too long": ("/" + "a" * 9000, "unsafe_redirect"),
}


@pytest.mark.parametrize(("location", "code"), REFUSED.values(), ids=REFUSED)
def test_a_redirect_to_a_forbidden_address_is_not_followed(
    downloads: Downloads, origin: Origin, location: str, code: str
) -> None:
    origin.serve("/a", body=BODY)
    link = origin.serve("/link", body=b"", redirect=location.format(port=origin.port))

    job = downloads.run(link.url)

    assert (job.status, job.error_code) == (JobStatus.FAILED, code)
    assert origin.requests_for("/a") == []
    assert "pass@" not in (job.reason or "")
    assert downloads.published() == []


@pytest.mark.parametrize("status", [300, 301, 302, 304, 307])
def test_a_redirect_that_leads_nowhere(downloads: Downloads, origin: Origin, status: int) -> None:
    job = downloads.run(origin.serve("/a", body=BODY, status=status).url)

    assert (job.status, job.error_code) == (JobStatus.FAILED, f"http_{status}")


def test_what_was_given_for_one_origin_does_not_go_to_another(
    direct: Direct, origin: Origin, elsewhere: Origin
) -> None:
    file = elsewhere.serve("/a.bin", body=BODY)
    origin.serve("/near", body=b"", redirect=file.url)
    link = origin.serve("/link", body=b"", redirect="/near")

    direct.fetch(
        link.url,
        headers={"X-Key": "k", "Authorization": "Bearer t"},
        cookies="id=1",
    )

    for one in origin.requests:
        assert (one.headers["x-key"], one.headers["cookie"]) == ("k", "id=1")
        assert one.headers["authorization"] == "Bearer t"
    [far] = elsewhere.requests
    assert {"x-key", "cookie", "authorization"}.isdisjoint(far.headers)
    assert direct.data == BODY


def test_a_login_does_not_go_to_another_origin(
    direct: Direct, origin: Origin, elsewhere: Origin
) -> None:
    elsewhere.serve("/a.bin", body=BODY)
    link = origin.serve("/link", body=b"", redirect=elsewhere.url("/a.bin"))

    direct.fetch(link.url, username="ada", password="pass")

    assert origin.requests[0].headers["authorization"].startswith("Basic ")
    assert "authorization" not in elsewhere.requests[0].headers


def test_a_signed_url_that_has_expired_is_asked_for_again(
    persistent: Downloads, origin: Origin
) -> None:
    """Where the link led is good for one request; the link gives a new one for the rest."""

    def sign(request: Request, plan: Plan) -> Plan:
        plan.headers["Location"] = f"/signed?{request.number}"
        return plan

    used: set[str] = set()

    def expire(request: Request, plan: Plan) -> Plan:
        if request.query in used:
            return does.status(403)(request, plan)
        used.add(request.query)
        return plan

    file = origin.serve(
        "/signed", size=400_000, reset_after=250_000, faults=1, respond=expire, etag='"1"'
    )
    link = origin.serve("/link", body=b"", redirect="/signed", respond=sign)

    job = persistent.run(link.url)

    assert (job.status, job.sha256) == (JobStatus.COMPLETED, file.sha256)
    assert origin.requests_for("/signed")[-1].first == 250_000
