"""Every coding × every body: what comes out, which error is raised, how much comes at once."""

from __future__ import annotations

import gzip
import random
import zlib
from collections.abc import Callable

import pytest
import zstandard

from domain.errors import PermanentError, SeenError, TransientError
from worker.transfer.http.decoding import MAX_CODINGS, STEP, Decoder

PLAIN = random.Random(1).randbytes(50_000) + b"the quick brown fox " * 40_000
ZEROS = 40_000_000
Encode = Callable[[bytes], bytes]


def raw_deflate(data: bytes) -> bytes:
    stream = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return stream.compress(data) + stream.flush()


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data)


CODINGS: dict[str, tuple[str, Encode]] = {
    "gzip": ("gzip", gzip.compress),
    "x-gzip": ("X-Gzip", gzip.compress),
    "deflate": ("deflate", zlib.compress),
    "bare deflate": ("deflate", raw_deflate),
    "gzip called deflate": ("deflate", gzip.compress),
    "zlib called gzip": ("gzip", zlib.compress),
    "zstd": ("zstd", zstd),
    "gzip of deflate": ("deflate, gzip", lambda data: gzip.compress(zlib.compress(data))),
    "gzip of zstd": ("zstd,gzip", lambda data: gzip.compress(zstd(data))),
    "zstd of gzip": ("gzip, identity, zstd", lambda data: zstd(gzip.compress(data))),
}
EACH = pytest.mark.parametrize(("encoding", "encode"), CODINGS.values(), ids=CODINGS)
CHUNKS = pytest.mark.parametrize("chunk", [1, 1000, 16 * 1024, 1 << 30])


def decoded(encoding: str, body: bytes, chunk: int = 16 * 1024) -> bytes:
    """Undo an encoding as a transfer does; no step may return more than is promised."""
    decoder, pieces = Decoder(encoding), []
    for start in range(0, len(body), chunk):
        decoder.feed(body[start : start + chunk])
        while decoder.has_work:
            pieces.append(decoder.step())
            assert len(pieces[-1]) <= STEP
    decoder.finish()
    return b"".join(pieces)


def failure(encoding: str, body: bytes, chunk: int = 16 * 1024) -> tuple[type[SeenError], str]:
    with pytest.raises(SeenError) as caught:
        decoded(encoding, body, chunk)
    return type(caught.value), caught.value.code


TRUNCATED = (TransientError, "truncated")
BAD = (TransientError, "bad_encoding")
UNKNOWN = (PermanentError, "unknown_encoding")


@EACH
@CHUNKS
def test_body_is_decoded_however_it_is_cut(encoding: str, encode: Encode, chunk: int) -> None:
    plain = PLAIN[:60_000] if chunk == 1 else PLAIN
    assert decoded(encoding, encode(plain), chunk) == plain


@EACH
@pytest.mark.parametrize("plain", [b"", b"x"])
def test_tiny_file_is_decoded(encoding: str, encode: Encode, plain: bytes) -> None:
    assert decoded(encoding, encode(plain)) == plain


@EACH
def test_empty_body_is_an_empty_file(encoding: str, encode: Encode) -> None:
    assert decoded(encoding, b"") == b""


@EACH
def test_bomb_comes_in_bounded_steps(encoding: str, encode: Encode) -> None:
    decoder, size = Decoder(encoding), 0
    decoder.feed(encode(bytes(ZEROS)))
    while decoder.has_work:
        output = decoder.step()
        assert len(output) <= STEP
        size += len(output)
    decoder.finish()
    assert size == ZEROS


@EACH
@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_truncated_body_is_an_error(encoding: str, encode: Encode, share: float) -> None:
    body = encode(PLAIN)
    assert failure(encoding, body[: int(len(body) * share)]) == TRUNCATED
    assert failure(encoding, body[:-1]) == TRUNCATED
    assert failure(encoding, body[:1]) == TRUNCATED


@EACH
def test_body_of_another_kind_is_an_error(encoding: str, encode: Encode) -> None:
    assert failure(encoding, b"<html>no such encoding</html>" * 100) == BAD


@pytest.mark.parametrize(
    ("encoding", "encode"), [CODINGS[name] for name in ("gzip", "x-gzip", "deflate")]
)
def test_wrong_checksum_is_an_error(encoding: str, encode: Encode) -> None:
    body = bytearray(encode(PLAIN))
    body[-6 if "zip" in encoding.lower() else -2] ^= 1
    assert failure(encoding, bytes(body)) == BAD


@EACH
@CHUNKS
def test_garbage_after_the_end_is_an_error(encoding: str, encode: Encode, chunk: int) -> None:
    """It could be what is left of a second stream that was damaged: the file would lack its end."""
    assert failure(encoding, encode(PLAIN[:2000]) + b"garbage", chunk) == BAD


REPEATABLE = [CODINGS[name] for name in ("gzip", "x-gzip", "zstd")]


@pytest.mark.parametrize(("encoding", "encode"), REPEATABLE)
@CHUNKS
def test_several_members_are_one_file(encoding: str, encode: Encode, chunk: int) -> None:
    first, second = PLAIN[:3000], PLAIN[3000:6000]
    body = encode(first) + encode(b"") + encode(second)
    assert decoded(encoding, body, chunk) == first + second
    assert failure(encoding, body[:-1], chunk) == TRUNCATED


@pytest.mark.parametrize("encode", [zlib.compress, raw_deflate])
def test_second_deflate_stream_is_an_error(encode: Encode) -> None:
    assert failure("deflate", encode(b"one") + encode(b"two")) == BAD


@CHUNKS
def test_gzip_may_be_padded_with_zeros(chunk: int) -> None:
    assert decoded("gzip", gzip.compress(PLAIN) + bytes(100_000), min(chunk, 1 << 20)) == PLAIN


def test_skippable_zstd_frames_are_skipped() -> None:
    frame = b"\x50\x2a\x4d\x18\x04\x00\x00\x00skip"
    assert decoded("zstd", frame + zstd(b"one") + frame + zstd(b"two") + frame) == b"onetwo"


def test_zstd_window_is_bounded() -> None:
    """The largest window of RFC 9659, and one of the next size."""

    def encode(window_log: int) -> bytes:
        parameters = zstandard.ZstdCompressionParameters(window_log=window_log)
        stream = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
        return stream.compress(PLAIN) + stream.flush()

    assert decoded("zstd", encode(23)) == PLAIN
    assert failure("zstd", encode(24)) == UNKNOWN
    assert failure("zstd", encode(27)) == UNKNOWN


@pytest.mark.parametrize(
    "encoding",
    ["br", "compress", "gzip, br", "gzip;q=1", ", ".join(["gzip"] * (MAX_CODINGS + 1)), "x" * 9999],
)
def test_coding_that_cannot_be_undone_is_refused(encoding: str) -> None:
    with pytest.raises(PermanentError) as caught:
        Decoder(encoding)
    assert caught.value.code == "unknown_encoding"
    assert len(str(caught.value)) < 400


EMPTY_STREAMS = {
    "gzip members": ("gzip", gzip.compress(b"")),
    "zstd frames": ("zstd", zstd(b"")),
    "skippable zstd frames": ("zstd", bytes.fromhex("502a4d1800000000")),
}
EMPTY = pytest.mark.parametrize(("encoding", "one"), EMPTY_STREAMS.values(), ids=EMPTY_STREAMS)


@EMPTY
@CHUNKS
def test_empty_streams_between_others_are_passed_over(
    encoding: str, one: bytes, chunk: int
) -> None:
    full = CODINGS[encoding][1](b"text")
    assert decoded(encoding, one * 900 + full + one * 900 + full, chunk) == b"texttext"


@EMPTY
@CHUNKS
def test_body_of_countless_empty_streams_is_refused(encoding: str, one: bytes, chunk: int) -> None:
    """It costs the worker's time, and brings nothing that a limit would count."""
    assert failure(encoding, one * 2000, chunk)[1] == "bad_encoding"
