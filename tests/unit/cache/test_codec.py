"""The bytes of a cached value: its envelope, its schema version, its compression."""

from __future__ import annotations

from collections import namedtuple
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import pytest
import zstandard
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from cache.platform import codec
from domain.errors import InvalidInputError


class Actor(BaseModel):
    cache_version: ClassVar[int] = 3
    name: str


class Film(BaseModel):
    cache_version: ClassVar[int] = 2
    title: str
    cast: list[Actor] = []


class Plain(BaseModel):
    text: str


class Shelf(BaseModel):
    """Names a model that is written further down."""

    boxes: list[Box] = []


class Box(BaseModel):
    cache_version: ClassVar[int] = 7


class Tree(BaseModel):
    cache_version: ClassVar[int] = 1
    branches: list[Tree] = []


@dataclass
class Poster:
    film: Film | None = None


class Row(TypedDict):
    film: Film


class Pair(NamedTuple):
    film: Film
    number: int


FILM = Film(title="Neon", cast=[Actor(name="Ada")])
LOADED: dict[str, int] = {"fresh_until_ms": 1_900_000_000_000, "took_ms": 1234}


# ── the envelope ────────────────────────────────────────────────────────────────────────────────


def test_a_set_value_is_codec_kind_version_and_json() -> None:
    assert codec.encode(FILM) == b'\x01V\x00\x05{"title":"Neon","cast":[{"name":"Ada"}]}'
    assert codec.encode(5) == b"\x01V\x00\x005"


def test_a_loaded_value_says_when_it_is_stale_and_how_long_it_took() -> None:
    raw = codec.encode_loaded(FILM, Film, fresh_until_ms=0x0102030405, took_ms=7)
    head = b"\x01L\x00\x05" + b"0" * 29 + b"\0\0\0\1\2\3\4\5" + b"\0\0\0\x07"
    assert raw[: codec.LOADED_HEAD_BYTES] == head
    assert codec.LOADED_HEAD_BYTES == 45
    envelope = codec.read_envelope(raw)
    assert (envelope.fresh_until_ms, envelope.took_ms) == (0x0102030405, 7)
    assert codec.decode(raw, Film) == FILM


def test_a_remembered_miss_has_a_version_and_no_body() -> None:
    raw = codec.encode_missing(Film, **LOADED)
    assert raw[:4] == b"\x01M\x00\x05"
    assert codec.read_envelope(raw) == codec.Envelope(
        codec.JSON, codec.MISSING, 5, b"", 1_900_000_000_000, 1234
    )
    assert codec.decode(raw, Film) is None


def test_a_bare_claim_reads_as_nothing() -> None:
    raw = codec.CLAIM_HEAD + b"t" * 16 + b"1900000000000" + codec.CLAIM_TAIL
    assert len(raw) == codec.LOADED_HEAD_BYTES
    assert codec.kind_of(raw) == codec.CLAIM
    assert codec.token_of(raw) == b"t" * 16
    assert codec.decode(raw, Film) is None


def test_a_loader_that_took_weeks_fits_its_four_bytes() -> None:
    raw = codec.encode_loaded(1, int, fresh_until_ms=1, took_ms=2**40)
    assert codec.read_envelope(raw).took_ms == 2**32 - 1


@pytest.mark.parametrize(
    ("raw", "model", "value"),
    [
        (b'{"title":"Neon"}', Plain | dict[str, str], {"title": "Neon"}),
        (b'{"text":"old"}', Plain, Plain(text="old")),
        (b"42", int, 42),
        (b" [1, 2]\n", list[int], [1, 2]),
        (b'\t"x"', str, "x"),
    ],
)
def test_plain_json_of_the_first_version_is_still_read(raw: bytes, model: Any, value: Any) -> None:
    assert codec.decode(raw, model) == value


def test_plain_json_is_too_old_for_a_model_with_a_version() -> None:
    assert codec.decode(FILM.model_dump_json().encode(), Film) is None


# ── schema versions ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("model", "version"),
    [
        (Plain, 0),
        (int, 0),
        (Actor, 3),
        (Film, 2 + 3),
        (list[Film], 2 + 3),
        (dict[str, tuple[Film, Actor]], 2 + 3),
        (Film | None, 2 + 3),
        (Annotated[Film | Plain, Field(description="a")], 2 + 3),
        (Shelf, 7),
        (Tree, 1),
        (Poster, 2 + 3),
        (Row, 2 + 3),
        (Pair, 2 + 3),
        (namedtuple("Bare", "film"), 0),
        (Literal["a", "b"], 0),
        (BaseModel, 0),
    ],
)
def test_a_version_is_the_sum_over_all_that_a_model_is_made_of(model: Any, version: int) -> None:
    assert codec.schema_version(model) == version


def test_a_value_of_another_version_is_none_whatever_its_body() -> None:
    for raw in (b"\x01V\x00\x04nonsense", b"\x02V\x00\x06nonsense"):
        assert codec.decode(raw, Film) is None
        with pytest.raises(codec.UnreadableValueError):
            codec.decode(raw[:2] + b"\x00\x05" + raw[4:], Film)


def test_a_version_fits_two_bytes() -> None:
    class Huge(BaseModel):
        cache_version: ClassVar[int] = 2**16

    class Negative(BaseModel):
        cache_version: ClassVar[int] = -1

    class Largest(BaseModel):
        cache_version: ClassVar[int] = 2**16 - 1

    for model in (Huge, Negative):
        with pytest.raises(ValueError, match="sum of the cache versions"):
            codec.encode(model())
    assert codec.encode(Largest())[2:4] == b"\xff\xff"


@pytest.mark.parametrize(
    ("value", "model"),
    [
        ([FILM], list[Film]),
        ((1, FILM), tuple[int, Film]),
        ({"a": FILM}, dict[str, Film]),
        ([1, [[FILM]]], list[int | list[list[Film]]]),
        ([{"a": [FILM]}], list[dict[str, list[Film]]]),
    ],
)
def test_a_collection_of_versioned_models_needs_its_model(value: Any, model: Any) -> None:
    with pytest.raises(InvalidInputError, match="model"):
        codec.encode(value)
    assert codec.decode(codec.encode(value, model), model) == value


@pytest.mark.parametrize("value", [[], [1], {"a": [Plain(text="x")]}, "text", b"bytes", {1, 2}])
def test_other_collections_need_no_model(value: Any) -> None:
    assert codec.encode(value)[2:4] == b"\0\0"


# ── what cannot be stored ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("value", [object(), "\ud800", b"\xff", [object()]])
def test_what_json_cannot_say_is_refused(value: Any) -> None:
    with pytest.raises(InvalidInputError, match="does not fit the model"):
        codec.encode(value)


def test_a_circle_is_refused() -> None:
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(InvalidInputError, match="Circular"):
        codec.encode(circle)


@pytest.mark.parametrize(
    ("value", "model"), [("5", int), (Plain(text="a"), Film), ([1], list[str])]
)
def test_a_value_that_is_not_what_its_model_says_is_refused(value: Any, model: Any) -> None:
    with pytest.raises(InvalidInputError, match="does not fit the model"):
        codec.encode(value, model)
    with pytest.raises(InvalidInputError, match="does not fit the model"):
        codec.encode_loaded(value, model, **LOADED)


def test_the_largest_value_is_eight_mebibytes_of_json() -> None:
    largest = "x" * (codec.MAX_VALUE_BYTES - 2)  # and two quotes
    assert codec.decode(codec.encode(largest), str) == largest
    with pytest.raises(codec.TooLargeError, match="8,388,609 bytes"):
        codec.encode(largest + "x")
    with pytest.raises(codec.TooLargeError):
        codec.encode_loaded(largest + "x", str, **LOADED)


# ── compression ─────────────────────────────────────────────────────────────────────────────────


def test_more_than_a_kibibyte_is_compressed() -> None:
    below, above = "x" * (1024 - 2), "x" * (1024 - 1)
    assert codec.encode(below)[0] == codec.JSON
    assert len(codec.encode(below)) == 4 + 1024
    small = codec.encode(above)
    assert small[0] == codec.ZSTD
    assert len(small) < 100
    assert zstandard.ZstdDecompressor().decompress(small[4:]) == b'"' + above.encode() + b'"'
    assert codec.decode(small, str) == above


def test_a_loaded_value_is_compressed_alike() -> None:
    raw = codec.encode_loaded("x" * 2000, str, **LOADED)
    assert raw[:2] == b"\x02L"
    assert len(raw) < 200
    assert codec.decode(raw, str) == "x" * 2000
