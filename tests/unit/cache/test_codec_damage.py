"""Damaged bytes of every kind are unreadable: an error of one kind, that does not show the value."""

from __future__ import annotations

import math
import struct
from typing import Annotated, Any, ClassVar, Literal

import pytest
import zstandard
from pydantic import BaseModel, Field

from cache.platform import codec


class Film(BaseModel):
    cache_version: ClassVar[int] = 5
    title: str


FILM = Film(title="Neon")


def zstd(body: bytes, **options: Any) -> bytes:
    """A set value whose body is this frame's content."""
    return b"\x02V\0\0" + zstandard.ZstdCompressor(**options).compress(body)


def frame_of_size(size: int, body: bytes) -> bytes:
    """A set value whose frame claims another size than its content has."""
    frame = zstd(body)[4:]
    rest = zstandard.get_frame_parameters(frame)
    start = zstandard.frame_header_size(frame)
    assert not rest.has_checksum
    # Magic, a descriptor "single segment, eight bytes of size", the size, and the blocks as they were.
    return b"\x02V\0\0" + frame[:4] + b"\xe0" + struct.pack("<Q", size) + frame[start:]


def test_a_frame_made_by_hand_is_right_when_its_size_is() -> None:
    assert codec.decode(frame_of_size(1026, b'"' + b"x" * 1024 + b'"'), str) == "x" * 1024


def test_a_bomb_is_not_unpacked() -> None:
    bomb = zstd(b'"' + b"\0" * 200 * 2**20 + b'"')
    assert len(bomb) < 100_000
    with pytest.raises(codec.UnreadableValueError, match="size"):
        codec.decode(bomb, str)


@pytest.mark.parametrize("size", [0, 1, 1025, 1027, 2**23, 2**23 + 1, 2**40, 2**63, 2**64 - 1])
def test_a_frame_that_lies_about_its_size_is_damaged(size: int) -> None:
    with pytest.raises(codec.UnreadableValueError):
        codec.decode(frame_of_size(size, b'"' + b"x" * 1024 + b'"'), str)


def test_a_frame_without_a_size_is_damaged() -> None:
    with pytest.raises(codec.UnreadableValueError, match="size"):
        codec.decode(zstd(b'"' + b"x" * 2000 + b'"', write_content_size=False), str)


VALID = {
    "set": codec.encode(FILM),
    "compressed": codec.encode(Film(title="x" * 2000)),
    "loaded": codec.encode_loaded(FILM, Film, fresh_until_ms=1_900_000_000_000, took_ms=1234),
}


@pytest.mark.parametrize("raw", VALID.values(), ids=VALID)
def test_a_value_that_is_cut_off_is_damaged(raw: bytes) -> None:
    for length in range(1, len(raw)):
        with pytest.raises(codec.UnreadableValueError):
            codec.decode(raw[:length], Film)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x00",
        b"\x00V\x00\x005",
        b"\x01",
        b"\x01V\x00",
        b"\x01X\x00\x005",
        b"\x01v\x00\x005",
        b"\x02V\x00\x005",
        b"\x01L\x00\x005",
        b"\x01M" + b"\0" * 42,
        b"\x03V\x00\x005",
        b"\x01V\x00\x00",
        b"\x01V\x00\x00\xff\xfe",
        b"\x01V\x00\x00nan",
        b"\x01V\x00\x00[",
        b"\x01V\x00\x00" + b"[" * 100_000,
        b"\x01V\x00\x00" + b"9" * 100_000,
        b"\x01V\x00\x001e999999999",
        b"\x02V\x00\x00\x50\x2a\x4d\x18\x01\x00\x00\x00x",  # a frame to be skipped
        b"{",
        b"\xff",
        b"*-1\r\n",
    ],
)
def test_damaged_bytes_are_unreadable(raw: bytes) -> None:
    with pytest.raises(codec.UnreadableValueError):
        codec.decode(raw, int)


def test_the_error_does_not_show_the_value() -> None:
    class Cat(BaseModel):
        kind: Literal["cat"]

    class Dog(BaseModel):
        kind: Literal["dog"]

    pet: Any = Annotated[Cat | Dog, Field(discriminator="kind")]
    models: list[Any] = [pet, dict[str, int], Film, int, Literal["a"]]
    for model in models:
        with pytest.raises(codec.UnreadableValueError) as caught:
            codec.decode(
                b"\x01V" + codec.schema_version(model).to_bytes(2) + b'{"kind":"hunter2"}', model
            )
        assert "hunter2" not in str(caught.value)
        assert caught.value.__suppress_context__


def test_a_number_that_json_does_not_have_is_unreadable_not_wrong() -> None:
    with pytest.raises(codec.UnreadableValueError):
        codec.decode(codec.encode(math.nan), float)
