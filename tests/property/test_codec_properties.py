"""Whatever a value is, it comes back as it was; whatever bytes are, they are a value or unreadable."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, ClassVar
from uuid import UUID

import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from cache.platform import codec

ZONES = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
TEXT = st.text(st.characters(codec="utf-8"))

#: A type and the values it has.
Shape = tuple[Any, st.SearchStrategy[Any]]

LEAVES: list[Shape] = [
    (bool, st.booleans()),
    (int, st.integers() | st.integers(-(10**4000), 10**4000)),
    (float, st.floats(allow_nan=False, allow_infinity=False)),
    (str, TEXT | TEXT.map(lambda text: text * 500)),
    (datetime, st.datetimes() | st.datetimes(timezones=ZONES | st.just(UTC))),
    (date, st.dates()),
    (timedelta, st.timedeltas(timedelta(days=-(10**6)), timedelta(days=10**6))),
    (Decimal, st.decimals(allow_nan=False, allow_infinity=False)),
    (UUID, st.uuids()),
    (bytes, TEXT.map(str.encode)),
    (set[int], st.sets(st.integers(), max_size=5)),
]


def model_of(fields: list[Shape], version: int) -> Shape:
    """A new model with these fields."""
    named = {f"field_{number}": field for number, field in enumerate(fields)}
    annotations: dict[str, Any] = {name: annotation for name, (annotation, _) in named.items()}
    body = {"__annotations__": annotations | {"cache_version": ClassVar[int]}}
    made: Any = type("Made", (BaseModel,), body | {"cache_version": version})
    values = st.fixed_dictionaries({name: values for name, (_, values) in named.items()})
    return made, values.map(lambda given: made(**given))


def list_of(inner: Shape) -> Shape:
    """Lists of a smaller shape."""
    return of(list, inner), st.lists(inner[1], max_size=4)


def dict_of(inner: Shape) -> Shape:
    """Dictionaries with any text as keys."""
    return of(dict, (str, TEXT), inner), st.dictionaries(TEXT, inner[1], max_size=4)


def pair_of(one: Shape, other: Shape) -> Shape:
    """Tuples of two smaller shapes."""
    return of(tuple, one, other), st.tuples(one[1], other[1])


def maybe(inner: Shape) -> Shape:
    """A smaller shape, or None."""
    return inner[0] | None, st.none() | inner[1]


def of(container: Any, *inner: Shape) -> Any:
    """The annotation of a container."""
    return container[tuple(annotation for annotation, _ in inner)]


def nested(inner: st.SearchStrategy[Shape]) -> st.SearchStrategy[Shape]:
    """Shapes made of smaller ones."""
    return st.one_of(
        st.builds(list_of, inner),
        st.builds(dict_of, inner),
        st.builds(pair_of, inner, inner),
        st.builds(maybe, inner),
        st.builds(model_of, st.lists(inner, max_size=4), st.integers(0, 9)),
    )


SHAPES = st.recursive(st.sampled_from(LEAVES), nested, max_leaves=6)
VALUES = SHAPES.flatmap(lambda shape: st.tuples(st.just(shape[0]), shape[1]))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(VALUES, st.integers(0, 2**63), st.integers(0, 2**40))
def test_every_value_comes_back_as_it_was(
    case: tuple[Any, Any], fresh_until_ms: int, took_ms: int
) -> None:
    model, value = case
    loaded = codec.encode_loaded(value, model, fresh_until_ms=fresh_until_ms, took_ms=took_ms)
    if value is None:
        return  # reads as "nothing there"
    for raw in (codec.encode(value, model), loaded):
        found: Any = codec.decode(raw, model)
        assert found == value
        assert type(found) is type(value)
    envelope = codec.read_envelope(loaded)
    assert (envelope.fresh_until_ms, envelope.took_ms) == (fresh_until_ms, min(took_ms, 2**32 - 1))


@settings(deadline=None)
@given(VALUES)
def test_only_larger_values_are_compressed_and_none_becomes_larger(case: tuple[Any, Any]) -> None:
    raw = codec.encode(case[1], case[0])
    body = raw[4:]
    if raw[0] == codec.ZSTD:
        text = zstandard.ZstdDecompressor().decompress(body)
        assert len(body) < len(text) > codec.COMPRESS_ABOVE
    elif len(body) > codec.COMPRESS_ABOVE:
        smaller = zstandard.ZstdCompressor(level=codec.ZSTD_LEVEL).compress(body)
        assert len(smaller) >= len(body)


class Film(BaseModel):
    cache_version: ClassVar[int] = 1
    title: str
    released: datetime | None = None
    cast: dict[str, list[int]] = {}


MODELS = st.sampled_from(
    [Film, list[Film], int, float, str, datetime, timedelta, Decimal, dict[str, int], set[str], Any]
)
ENVELOPES = [
    codec.encode(Film(title="Neon", cast={"a": [1, 2]})),
    codec.encode(Film(title="Neon " * 500)),
    codec.encode_loaded(Film(title="Neon"), Film, fresh_until_ms=1, took_ms=1),
    codec.encode_loaded([Film(title="Neon " * 500)], list[Film], fresh_until_ms=1, took_ms=1),
    codec.encode_missing(Film, fresh_until_ms=1, took_ms=1),
    codec.encode(12345),
    codec.encode({"a": 1}),
]


def read(raw: bytes, model: Any) -> None:
    """Read bytes; any error but the one that says "unreadable" comes through."""
    try:
        codec.decode(raw, model)
        codec.kind_of(raw)
    except codec.UnreadableValueError:
        pass


@settings(max_examples=500)
@given(st.binary(max_size=200), MODELS)
def test_random_bytes_are_a_value_or_unreadable(raw: bytes, model: Any) -> None:
    read(raw, model)


@settings(max_examples=500)
@given(st.sampled_from([b"\1V\0\0", b"\1V\0\1", b"\2V\0\0", b"\2V\0\1"]), st.binary(), MODELS)
def test_random_bodies_are_a_value_or_unreadable(head: bytes, body: bytes, model: Any) -> None:
    read(head + body, model)
    read(head + b"\x28\xb5\x2f\xfd" + body, model)  # as a frame begins


@settings(max_examples=1000)
@given(
    st.sampled_from(ENVELOPES),
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=4),
    st.integers(0, 10_000),
    st.binary(max_size=10),
    MODELS,
)
def test_mutated_envelopes_are_a_value_or_unreadable(
    raw: bytes, changes: list[tuple[int, int]], cut: int, more: bytes, model: Any
) -> None:
    mutated = bytearray(raw)
    for place, byte in changes:
        mutated[place % len(mutated)] = byte
    read(bytes(mutated), model)
    place = cut % len(mutated)
    read(bytes(mutated[:place]) + more, model)
    read(bytes(mutated[:place]) + more + bytes(mutated[place:]), model)
