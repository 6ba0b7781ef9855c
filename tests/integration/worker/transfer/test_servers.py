"""Real servers: nginx in its ways, Python's own, and FTP."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path

import pytest

from domain.job import JobStatus
from tests.support.net import has_ipv6
from tests.support.servers import ftp
from tests.support.servers.ftp import Ftp
from tests.support.servers.nginx import Nginx
from tests.support.servers.plain_server import PlainServer
from tests.support.servers.tls import Authority
from tests.support.services.system import System
from tests.support.services.transferring import QUICK, Direct, Downloads
from tests.support.wait import wait_until
from worker.storage.destination import Checkpoint
from worker.storage.part_file import PartFile
from worker.transfer.sources import Source

S = JobStatus
SIZE = 3_000_000
DATA = hashlib.shake_256(b"servers").digest(SIZE)
SHA256 = hashlib.sha256(DATA).hexdigest()
GIB = 1 << 30


@pytest.fixture
def name(nginx: Nginx, tmp_path: Path) -> Iterator[str]:
    """A file of `DATA` under nginx's root, old enough for its date to vouch for it."""
    path = nginx.root / f"{tmp_path.name}.bin"
    path.write_bytes(DATA)
    os.utime(path, (1_000_000_000, 1_000_000_000))
    yield path.name
    path.unlink()


def test_nginx_with_a_pace_of_each_connection(
    downloads: Downloads, nginx: Nginx, name: str
) -> None:
    job = downloads.run(nginx.url(f"/slow/{name}"))

    assert (job.status, job.sha256) == (S.COMPLETED, SHA256)
    wait_until(lambda: len(nginx.requests(f"/slow/{name}")) > 1)
    assert {entry.status for entry in nginx.requests(f"/slow/{name}")} == {200, 206}


def test_nginx_with_a_limit_of_connections(persistent: Downloads, nginx: Nginx, name: str) -> None:
    job = persistent.run(nginx.url(f"/few/{name}"))

    assert (job.status, job.sha256, job.attempts) == (S.COMPLETED, SHA256, 1)
    wait_until(lambda: nginx.requests(f"/few/{name}"))
    served = [entry for entry in nginx.requests(f"/few/{name}") if entry.status != 503]
    assert len(served) >= 2


def test_nginx_without_ranges(downloads: Downloads, nginx: Nginx, name: str) -> None:
    assert downloads.run(nginx.url(f"/whole/{name}")).sha256 == SHA256


def test_nginx_with_tls_and_http2(system: System, authority: Authority, nginx: Nginx) -> None:
    """Several ranges of one HTTP/2 server come over connections of their own."""
    with Nginx(certificate=authority.issue("127.0.0.1")) as server:
        (server.root / "a.bin").write_bytes(DATA)
        downloads = Downloads(system, ca_file=authority.ca_file)
        try:
            job = downloads.run(server.url("/slow/a.bin"))
        finally:
            downloads.close()
        assert (job.status, job.sha256) == (S.COMPLETED, SHA256)
        entries = wait_until(lambda: server.requests("/slow/a.bin")[1:] and server.requests())
        assert {entry.protocol for entry in entries} == {"HTTP/2.0"}
        assert len({entry.connection for entry in entries}) > 1


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 loopback")
def test_nginx_over_ipv6(tmp_path: Path, system: System, nginx: Nginx) -> None:
    with Nginx(host="[::1]") as server:
        (server.root / "a.bin").write_bytes(DATA)
        refused = Direct(tmp_path / "refused")
        assert refused.failure(server.url("/a.bin")) == "forbidden_address"
        direct = Direct(tmp_path / "direct", networks=("::1/128",))
        direct.fetch(server.url("/a.bin"))
        assert direct.data == DATA


def test_a_server_of_python(tmp_path: Path, persistent: Downloads) -> None:
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "a.bin").write_bytes(DATA)
    with PlainServer(folder) as server:
        assert persistent.run(server.url("/a.bin")).sha256 == SHA256
        assert persistent.run(server.url("/none")).error_code == "http_404"


def test_offsets_beyond_four_gibibytes(direct: Direct, nginx: Nginx) -> None:
    """All but the ends of a sparse file of 5 GiB is there already; its end is fetched in pieces."""
    size, tail = 5 * GIB, 8_000_000
    path = nginx.root / "huge.bin"
    with path.open("wb") as file:
        file.truncate(size)
        file.seek(size - len(DATA))
        file.write(DATA)
    os.utime(path, (1_000_000_000, 1_000_000_000))
    url = nginx.url("/slow/huge.bin")
    try:
        assert direct.failure(url, max_bytes=size - 1) == "too_large"
        with PartFile(direct.folder, direct.job.id) as part:
            part.truncate(size - tail)
            part.write_checkpoint(_all_but(tail, size, url, path))
        direct.options = replace(QUICK, split_after=0.5, connections=8)
        end = direct.fetch_end(url, size - len(DATA))
    finally:
        path.unlink()
    assert end == DATA
    asked = [entry.range_header for entry in nginx.requests("/slow/huge.bin") if entry.range_header]
    assert len(asked) > 1
    assert all(int(text.removeprefix("bytes=").split("-")[0]) > 4 * GIB for text in asked)


def _all_but(tail: int, size: int, url: str, path: Path) -> Checkpoint:
    tag = f'"{int(path.stat().st_mtime):x}-{size:x}"'  # as nginx makes it
    return Checkpoint(
        written=((0, size - tail),),
        total=size,
        validator=tag,
        etag=tag,
        last_modified=formatdate(path.stat().st_mtime, usegmt=True),
        source=Source(url).digest,
    )


# ── FTP ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Ftp]:
    """An FTP server with a file."""
    folder = tmp_path / "ftp"
    folder.mkdir()
    (folder / "a.bin").write_bytes(DATA)
    (folder / "empty").write_bytes(b"")
    os.utime(folder / "a.bin", (1_000_000_000, 1_000_000_000))
    with Ftp(folder) as server:
        yield server


def test_ftp_for_everybody_and_for_one(direct: Direct, server: Ftp) -> None:
    direct.fetch(server.url("/a.bin"))
    assert direct.data == DATA
    direct.part.unlink()
    direct.checkpoint.unlink(missing_ok=True)

    direct.fetch(server.url("/a.bin"), username=ftp.USER, password=ftp.PASSWORD)

    assert direct.data == DATA
    assert [one for one in server.commands if one.startswith("USER")] == [
        "USER anonymous",
        f"USER {ftp.USER}",
    ]


def test_a_job_over_ftp(downloads: Downloads, server: Ftp) -> None:
    job = downloads.run(server.url("/a.bin"))

    assert (job.status, job.sha256, job.error_code) == (S.COMPLETED, SHA256, None)
    assert [path.name for path in downloads.published()] == ["a.bin"]
    assert downloads.run(server.url("/none")).error_code == "not_found"


def test_an_empty_file_of_ftp(direct: Direct, server: Ftp) -> None:
    assert direct.fetch(server.url("/empty")).size == 0


def test_ftp_goes_on_where_it_was_cut(direct: Direct, server: Ftp) -> None:
    server.cut_next_after(1_000_000)
    assert direct.failure(server.url("/a.bin")) == "truncated"

    direct.fetch(server.url("/a.bin"))

    assert direct.data == DATA
    [rest] = [one for one in server.commands if one.startswith("REST") and one != "REST 0"]
    assert int(rest.split()[1]) >= 900_000


def test_a_file_of_ftp_that_changed_is_not_joined(direct: Direct, server: Ftp) -> None:
    server.cut_next_after(1_000_000)
    assert direct.failure(server.url("/a.bin")) == "truncated"
    (server.root / "a.bin").write_bytes(DATA[::-1])

    direct.fetch(server.url("/a.bin"))

    assert direct.data == DATA[::-1]


FTP_FAILURES: dict[str, tuple[Callable[[Ftp], str], dict[str, str], str]] = {
    "no such file": (lambda server: server.url("/none"), {}, "not_found"),
    "a wrong password": (
        lambda server: server.url("/a.bin"),
        {"username": ftp.USER, "password": "no"},
        "login_denied",
    ),
}


@pytest.mark.parametrize(("url", "login", "code"), FTP_FAILURES.values(), ids=FTP_FAILURES)
def test_ftp_that_has_no_file_for_us(
    direct: Direct,
    server: Ftp,
    url: Callable[[Ftp], str],
    login: dict[str, str],
    code: str,
) -> None:
    found = direct.failure(url(server), **login)
    assert found == code


def test_ftp_larger_than_allowed(direct: Direct, server: Ftp) -> None:
    assert direct.failure(server.url("/a.bin"), max_bytes=SIZE - 1) == "too_large"


def test_ftp_of_a_private_address(tmp_path: Path, server: Ftp) -> None:
    direct = Direct(tmp_path / "refused", networks=())
    assert direct.failure(server.url("/a.bin")) == "forbidden_address"


def test_an_ftp_server_that_cannot_continue_is_read_from_the_start(
    direct: Direct, server: Ftp
) -> None:
    server.refuse("REST")
    server.cut_next_after(1_000_000)
    assert direct.failure(server.url("/a.bin")) == "truncated"

    direct.fetch(server.url("/a.bin"))

    assert direct.data == DATA
    assert any("discarded" in note for note in direct.notes)
