"""Whose certificate is taken, and what becomes of a link that leads out of TLS."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from domain.job import JobStatus
from tests.support.origins import misbehaviour as does
from tests.support.origins.origin import Origin
from tests.support.servers.http_proxy import HttpProxy
from tests.support.servers.nginx import Nginx
from tests.support.servers.tls import Authority, TlsFront
from tests.support.services.system import System
from tests.support.services.transferring import Downloads

S = JobStatus
SIZE = 1_500_000


@pytest.fixture
def trusting(system: System, authority: Authority) -> Iterator[Downloads]:
    """Downloads that trust the authority of the test."""
    downloads = Downloads(system, ca_file=authority.ca_file)
    yield downloads
    downloads.close()


def test_a_certificate_that_fits(trusting: Downloads, authority: Authority, origin: Origin) -> None:
    file = origin.serve("/a.bin", size=SIZE, bytes_per_second=2_000_000)
    with TlsFront(origin.port, authority.issue("127.0.0.1")) as front:
        job = trusting.run(front.url("/a.bin"))

    assert (job.status, job.sha256) == (S.COMPLETED, file.sha256)
    assert origin.max_concurrent("/a.bin") > 1


BAD = {
    "of another name": (["elsewhere.test"], False, True),
    "of a name that only begins so": (["127.0.0.1.elsewhere.test"], False, True),
    "expired": (["127.0.0.1"], True, True),
    "of an unknown authority": (["127.0.0.1"], False, False),
}


@pytest.mark.parametrize(("names", "expired", "known"), BAD.values(), ids=BAD)
def test_a_certificate_that_does_not_fit(
    tmp_path: Path,
    trusting: Downloads,
    authority: Authority,
    origin: Origin,
    names: list[str],
    expired: bool,
    known: bool,
) -> None:
    origin.serve("/a.bin", size=SIZE)
    (tmp_path / "stranger").mkdir()
    issuer = authority if known else Authority(tmp_path / "stranger")
    with TlsFront(origin.port, issuer.issue(*names, expired=expired)) as front:
        job = trusting.run(front.url("/a.bin"))

    assert (job.status, job.error_code) == (S.FAILED, "bad_certificate")
    assert origin.requests == []


def test_an_unknown_authority_is_not_trusted_by_default(
    downloads: Downloads, authority: Authority, origin: Origin
) -> None:
    with TlsFront(origin.port, authority.issue("127.0.0.1")) as front:
        assert downloads.run(front.url("/a.bin")).error_code == "bad_certificate"


def test_a_bad_certificate_is_bad_behind_a_redirect_and_a_proxy(
    system: System, authority: Authority, origin: Origin
) -> None:
    with (
        TlsFront(origin.port, authority.issue("elsewhere.test")) as front,
        HttpProxy() as proxy,
    ):
        link = origin.serve("/link", body=b"", redirect=front.url("/a.bin"))
        downloads = Downloads(system, ca_file=authority.ca_file, proxy=proxy.url)
        try:
            job = downloads.run(link.url)
        finally:
            downloads.close()

    assert (job.status, job.error_code) == (S.FAILED, "bad_certificate")


def test_an_origin_that_does_not_speak_tls(trusting: Downloads, nginx: Nginx) -> None:
    job = trusting.run(f"https://127.0.0.1:{nginx.port}/a.bin")
    assert (job.status, job.error_code) == (S.WAITING, "tls")


def test_a_link_out_of_tls_is_followed_only_with_a_checksum(
    trusting: Downloads, authority: Authority, origin: Origin
) -> None:
    file = origin.serve("/a.bin", size=SIZE)
    origin.serve("/link", body=b"", redirect=file.url)
    with TlsFront(origin.port, authority.issue("127.0.0.1")) as front:
        without = trusting.run(front.url("/link"))
        with_one = trusting.run(front.url("/link"), checksum=f"sha256:{file.sha256}", name="b")

    assert (without.status, without.error_code) == (S.FAILED, "unsafe_redirect")
    assert (with_one.status, with_one.sha256) == (S.COMPLETED, file.sha256)


@pytest.mark.parametrize("framing", [{}, {"send_length": False}], ids=["a length", "none"])
def test_a_body_that_breaks_off_inside_tls_is_no_file(
    trusting: Downloads, authority: Authority, origin: Origin, framing: dict[str, bool]
) -> None:
    """Without a length only TLS shows the end: this server sends close_notify, and is believed."""
    file = origin.serve("/a.bin", size=SIZE, truncate_after=500_000, **framing)  # type: ignore[arg-type]
    with TlsFront(origin.port, authority.issue("127.0.0.1")) as front:
        job = trusting.run(front.url("/a.bin"))

    if framing:
        assert (job.status, job.bytes_total) == (S.COMPLETED, 500_000)
        assert trusting.published()[0].read_bytes() == file.body_slice(0, 500_000)
    else:
        assert (job.status, job.error_code) == (S.WAITING, "truncated")


def test_a_cut_through_tls_is_continued(
    system: System, authority: Authority, origin: Origin
) -> None:
    """At a rate at which bytes are read before the reset comes that would throw them away."""
    file = origin.serve(
        "/a.bin", size=SIZE, bytes_per_second=2_000_000, respond=does.resets_every(600_000)
    )
    downloads = Downloads(system, ca_file=authority.ca_file, connections=1)
    with TlsFront(origin.port, authority.issue("127.0.0.1")) as front:
        job = downloads.run(front.url("/a.bin"), attempts=9, max_attempts=9)
    downloads.close()

    assert (job.status, job.sha256) == (S.COMPLETED, file.sha256)
    assert len(origin.requests) > 2
