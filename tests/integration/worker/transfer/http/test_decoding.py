"""Bodies that are decoded: a small one may stand for a large file, for which every limit holds."""

from __future__ import annotations

import gzip
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import zstandard

from domain.errors import CancelledError
from tests.support.origins.origin import Origin
from tests.support.services.transferring import QUICK, Direct
from worker.transfer.interfaces import UnlimitedQuota

ROOT = Path(__file__).parents[5]
MIB = 1 << 20


def gzipped(data: bytes) -> bytes:
    return gzip.compress(data, 9)


def raw_deflate(data: bytes) -> bytes:
    stream = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return stream.compress(data) + stream.flush()


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=3).compress(data)


CODINGS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzipped),
    "deflate": ("deflate", zlib.compress),
    "bare deflate": ("deflate", raw_deflate),
    "zstd": ("zstd", zstd),
    "gzip of gzip": ("gzip, gzip", lambda data: gzipped(gzipped(data))),
    "zstd of zstd": ("zstd, zstd", lambda data: zstd(zstd(data))),
}
EACH = pytest.mark.parametrize(("encoding", "encode"), CODINGS.values(), ids=CODINGS)


def serve(origin: Origin, encoding: str, body: bytes) -> str:
    return origin.serve("/a.bin", body=body, content_encoding=encoding).url


@EACH
def test_bomb_writes_no_byte_beyond_the_limit(
    direct: Direct, origin: Origin, encoding: str, encode: Callable[[bytes], bytes]
) -> None:
    url = serve(origin, encoding, encode(bytes(50_000_000)))
    assert direct.failure(url, decode=True, max_bytes=1_000_000) == "too_large"
    assert direct.part.stat().st_size <= 1_000_000


@EACH
def test_large_file_is_decoded_whole(
    direct: Direct, origin: Origin, encoding: str, encode: Callable[[bytes], bytes]
) -> None:
    plain = bytes(20_000_000) + b"the end"
    fetched = direct.fetch(serve(origin, encoding, encode(plain)), decode=True)
    assert (fetched.size, direct.data) == (len(plain), plain)


def test_decoding_takes_little_memory(tmp_path: Path, origin: Origin) -> None:
    """The peaks of a process that decodes 60 MB of each coding, beside that of a byte of each."""
    bodies = (b"x", bytes(100_000_000))
    codings = CODINGS.values()
    urls = [
        origin.serve(f"/{number}/{len(body)}", body=encode(body), content_encoding=encoding).url
        for body in bodies
        for number, (encoding, encode) in enumerate(codings)
    ]
    command = [sys.executable, "-m", "tests.support.processes.decoding_memory"]
    output = subprocess.check_output(
        [*command, str(tmp_path), "60000000", *urls], cwd=ROOT, text=True, timeout=150
    )
    ends = [line.split() for line in output.splitlines()]
    assert [end for end, _ in ends] == ["1"] * len(codings) + ["too_large"] * len(codings)
    peaks = [int(peak) * 1024 for _, peak in ends]
    before = peaks[len(codings) - 1]
    # Two windows of zstd, the buffers on the way, and what the allocator keeps.
    more = {name: peak - before for name, peak in zip(CODINGS, peaks[len(codings) :], strict=True)}
    assert [name for name, peak in more.items() if peak >= 40 * MIB] == [], more


@EACH
def test_transfer_is_stopped_between_two_steps(
    direct: Direct, origin: Origin, encoding: str, encode: Callable[[bytes], bytes]
) -> None:
    """Given a body that is all there at once: the stop comes with the first bytes that are written."""
    url = serve(origin, encoding, encode(bytes(50_000_000)))

    def cancel_when_bytes_came() -> None:
        assert direct.tracker is not None
        if direct.tracker.counts.downloaded:
            direct.tracker.stop.set(CancelledError("cancelled"))

    direct.check_may_write = cancel_when_bytes_came

    assert direct.failure(url, decode=True) == "cancelled"
    assert direct.tracker is not None
    assert direct.tracker.counts.downloaded <= 8 * MIB  # and what waited for the disk


@EACH
def test_rate_holds_for_what_is_decoded(
    direct: Direct, origin: Origin, encoding: str, encode: Callable[[bytes], bytes]
) -> None:
    """5 MB at 1 MB a second from a body that is there at once; the origin does not count as slow.

    It may take two seconds to answer, which a busy machine may need.
    """
    direct.options = replace(QUICK, low_speed_time=2, low_speed_limit=1_000_000_000)
    direct.quota = UnlimitedQuota()
    direct.quota.rate = 1_000_000
    began = time.monotonic()
    assert (
        direct.fetch(serve(origin, encoding, encode(bytes(5_000_000))), decode=True).size
        == 5_000_000
    )
    # Twice the time after which a slow transfer ends.
    assert time.monotonic() - began > 4
