"""How a typed value becomes bytes and back: JSON, compressed when large, in an envelope that says so.

The envelope, in this order:

    codec     1 byte    1 JSON, 2 JSON in a zstd frame; how `body` is to be read, never guessed
    kind      1 byte    V set by a caller; L loaded; M a loader found nothing; C a bare claim, see below
    version   2 bytes   big-endian: the schema version of the model, see `schema_version`
    only L, M and C, which `cache.platform.loading` makes:
    claim     16 bytes  token of the one who loads it (anew), or zeros
    until     13 bytes  when that claim ends: milliseconds since the epoch as decimal digits, or zeros
    fresh     8 bytes   big-endian: when it is no longer fresh, milliseconds since the epoch
    took      4 bytes   big-endian: milliseconds the loader took
    all:
    body                the value; empty for M and C

Bytes that begin with anything but a codec byte are JSON without an envelope (no JSON text begins with
such a control character): counters, and values of the first version. They count as schema version 0.
"""

from __future__ import annotations

import dataclasses
import struct
import threading
import typing
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, TypeVar

import zstandard
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError
from typing_extensions import is_typeddict

from cache.arguments import InvalidNumberError
from domain.errors import InvalidInputError

T = TypeVar("T")

JSON: Final = 1
ZSTD: Final = 2

VALUE: Final = ord("V")
LOADED: Final = ord("L")
MISSING: Final = ord("M")
CLAIM: Final = ord("C")

#: Smaller bodies are not worth compressing.
COMPRESS_ABOVE = 1024
#: zstd's fastest standard level: a cache is written by somebody who waits.
ZSTD_LEVEL = 1
#: A larger value is refused: it would hold up every other caller of the server.
MAX_VALUE_BYTES = 8 * 2**20

TOKEN_BYTES: Final = 16
_NO_CLAIM = b"0" * (TOKEN_BYTES + 13)
_HEAD = struct.Struct(">BBH")
_LOAD = struct.Struct(f">{len(_NO_CLAIM)}sQI")
LOADED_HEAD_BYTES: Final = _HEAD.size + _LOAD.size
#: What stands before and behind the token and the end of a claim where there is no value.
CLAIM_HEAD: Final = _HEAD.pack(JSON, CLAIM, 0)
CLAIM_TAIL: Final = bytes(LOADED_HEAD_BYTES - _HEAD.size - len(_NO_CLAIM))


@dataclass(slots=True)
class Envelope:
    """What stands around a body. Times are milliseconds since the epoch, `took_ms` milliseconds."""

    codec: int
    kind: int
    version: int
    body: bytes
    fresh_until_ms: int = 0
    took_ms: int = 0


class UnreadableValueError(ValueError):
    """Stored bytes that are no envelope, or whose body does not fit the model."""


class TooLargeError(InvalidInputError):
    """A value has more than `MAX_VALUE_BYTES`."""


def read_envelope(raw: bytes) -> Envelope:
    """Take stored bytes apart; raise UnreadableValueError for a damaged one."""
    if not raw or raw[0] > ZSTD:
        return Envelope(JSON, VALUE, 0, raw)
    if len(raw) < _HEAD.size:
        raise UnreadableValueError("its envelope is cut off")
    codec, kind, version = _HEAD.unpack_from(raw)
    if codec == 0:
        raise UnreadableValueError("its codec 0 does not exist")
    if kind == VALUE:
        return Envelope(codec, kind, version, raw[_HEAD.size :])
    if kind not in (LOADED, MISSING, CLAIM) or len(raw) < LOADED_HEAD_BYTES:
        raise UnreadableValueError(f"its kind {kind} does not exist, or it is cut off")
    _claim, fresh, took = _LOAD.unpack_from(raw, _HEAD.size)
    return Envelope(codec, kind, version, raw[LOADED_HEAD_BYTES:], fresh, took)


def decode(raw: bytes, model: type[T]) -> T | None:
    """Return the value in `raw` as `model`, or None when it is of another schema version or holds none.

    Raises:
        UnreadableValueError: damaged, or it does not fit `model`; the message does not show the value.
    """
    envelope = read_envelope(raw)
    if envelope.kind not in (VALUE, LOADED) or not fits(envelope, model):
        return None
    return decode_body(envelope, model)


def fits(envelope: Envelope, model: Any) -> bool:
    """Say whether a value was written with the schema version that `model` has now."""
    return envelope.version == _codec_for(model).version


def decode_body(envelope: Envelope, model: type[T]) -> T:
    """Read the body; raise UnreadableValueError when it does not fit."""
    text = _decompress(envelope.body) if envelope.codec == ZSTD else envelope.body
    try:
        value: T = _codec_for(model).adapter.validate_json(text)
    except ValidationError as error:
        # Not the message: that of an unknown union tag, or a validator's own, can show the value.
        problem = error.errors(include_input=False, include_context=False, include_url=False)[0]
        raise UnreadableValueError(f"its JSON is refused ({problem['type']})") from None
    return value


def encode(value: Any, model: Any = None) -> bytes:
    """Return the bytes of a value that a caller sets.

    Args:
        model: what it will be read as; its own class when None.

    Raises:
        InvalidInputError: it is too large, or a collection of versioned models without `model`.
    """
    form = _codec_for(type(value) if model is None else model)
    text = _text(form, value)
    if model is None:
        _refuse_versioned_members(value)
    codec, body = _body(text)
    return _HEAD.pack(codec, VALUE, form.version) + body


def _text(form: _ModelCodec, value: Any) -> bytes:
    """Return a value as JSON; raise InvalidInputError when it is not what its model says."""
    if not isinstance(value, form.instances):
        # pydantic would write those of its fields that the model has, too.
        problem = f"It is not what the model says: no {form.instances.__name__}."
        raise InvalidInputError("value", type(value).__name__, problem)
    try:
        return form.adapter.dump_json(value, warnings="error")
    except (PydanticSerializationError, ValueError, TypeError, RecursionError) as error:
        raise InvalidInputError(
            "value", type(value).__name__, f"It is not what the model says: {error}."
        ) from None


def encode_loaded(value: Any, model: Any, *, fresh_until_ms: int, took_ms: int) -> bytes:
    """Return the bytes of a value that a loader brought."""
    form = _codec_for(model)
    codec, body = _body(_text(form, value))
    return _loaded_head(codec, LOADED, form.version, fresh_until_ms, took_ms) + body


def encode_missing(model: Any, *, fresh_until_ms: int, took_ms: int) -> bytes:
    """Return the bytes that remember that a loader found nothing."""
    return _loaded_head(JSON, MISSING, _codec_for(model).version, fresh_until_ms, took_ms)


def _loaded_head(codec: int, kind: int, version: int, fresh_until_ms: int, took_ms: int) -> bytes:
    load = _LOAD.pack(_NO_CLAIM, fresh_until_ms, min(took_ms, 2**32 - 1))
    return _HEAD.pack(codec, kind, version) + load


def _body(text: bytes) -> tuple[int, bytes]:
    if len(text) > MAX_VALUE_BYTES:
        raise TooLargeError(
            "value",
            f"{len(text):,} bytes",
            f"A cached value has {MAX_VALUE_BYTES:,} bytes at most. Store it in parts, or its address.",
        )
    if len(text) <= COMPRESS_ABOVE:
        return JSON, text
    small = _local.compressor.compress(text)
    return (ZSTD, small) if len(small) < len(text) else (JSON, text)


def _decompress(body: bytes) -> bytes:
    """Unpack a frame of ours; one that claims to be larger than any value we write is damaged."""
    try:
        size = zstandard.frame_content_size(body)
        if not 0 <= size <= MAX_VALUE_BYTES:
            raise UnreadableValueError("its compressed body does not say a size that can be right")
        return _local.decompressor.decompress(body)
    except zstandard.ZstdError as error:
        raise UnreadableValueError(f"its compressed body is damaged ({error})") from None


def _refuse_versioned_members(value: Any) -> None:
    """The class of a collection does not tell what it will be read as, so neither its version."""
    if not _is_collection(type(value)):
        return
    members = list(value.values() if isinstance(value, Mapping) else value)
    kinds: set[Any] = {type(member) for member in members}
    for kind in kinds:
        if schema_version(kind):
            raise InvalidInputError(
                "model",
                None,
                f"A collection of {kind.__name__}, which has a cache_version, needs to be told what "
                f"it will be read as, such as model=list[{kind.__name__}].",
            )
    if any(map(_is_collection, kinds)):
        for member in members:
            _refuse_versioned_members(member)


def _is_collection(kind: Any) -> bool:
    return issubclass(kind, Collection) and not issubclass(kind, str | bytes)


class _Zstd(threading.local):
    """Contexts of one thread: making one costs more than using it, and none may be shared."""

    def __init__(self) -> None:
        self.compressor = zstandard.ZstdCompressor(level=ZSTD_LEVEL)
        self.decompressor = zstandard.ZstdDecompressor()


_local = _Zstd()


@dataclass(frozen=True, slots=True)
class _ModelCodec:
    """A model prepared for reading and writing."""

    adapter: TypeAdapter[Any]
    version: int
    instances: type
    """What its values are instances of, where that can be said."""


_codecs: dict[Any, _ModelCodec] = {}


def check_model(model: Any) -> None:
    """Raise InvalidInputError for what pydantic cannot read and write."""
    _codec_for(model)


def _codec_for(model: Any) -> _ModelCodec:
    if isinstance(model, str):
        raise InvalidInputError("model", model, "It is a type, not its name.")
    try:
        form = _codecs.get(model)
        return _new_codec(model) if form is None else form
    except InvalidInputError:
        raise
    except Exception as error:  # pydantic's, or whatever the class of a caller's raises
        reason = str(error)[:200].partition("\n")[0].rstrip(".")
        problem = f"It is no type that pydantic can read and write: {reason}."
        raise InvalidInputError("model", model, problem) from None


def _new_codec(model: Any) -> _ModelCodec:
    is_model = isinstance(model, type) and issubclass(model, BaseModel)
    generic = model.__pydantic_generic_metadata__["origin"] if is_model else object
    form = _ModelCodec(TypeAdapter(model), schema_version(model), generic or model)
    _codecs[model] = form
    return form


@cache
def schema_version(model: Any) -> int:
    """Return the schema version of a model: the sum of `cache_version` over all models it is made of.

    A model says its own as a class variable (``cache_version: ClassVar[int] = 2``; 0 without one). Who
    changes a model raises its number by one; with it rises that of every value that contains it, so that
    values of the old form become misses.
    """
    seen: set[Any] = set()
    version = sum(_own_version(part) for part in _parts(model, seen))
    if not 0 <= version < 2**16:
        problem = f"The cache versions within {model!r} add up to a number from 0 to 65535."
        raise InvalidNumberError("cache_version", version, problem)
    return version


def _own_version(part: Any) -> int:
    return int(getattr(part, "cache_version", 0)) if isinstance(part, type) else 0


def _parts(annotation: Any, seen: set[Any]) -> Iterator[Any]:
    """Yield every class within an annotation once, fields of models included."""
    try:
        if annotation in seen:
            return
        seen.add(annotation)
    except TypeError:  # an annotation's extra, such as Literal[[…]], that nobody can hash
        return
    yield annotation
    for argument in (*typing.get_args(annotation), *_fields(annotation)):
        yield from _parts(argument, seen)


def _fields(annotation: Any) -> Iterable[Any]:
    """Return what the fields of a class are made of, where it is a model, a dataclass or alike."""
    if annotation is BaseModel:
        return ()
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        # A field may name a class that was written further down than its model.
        annotation.model_rebuild()
        return [field.annotation for field in annotation.model_fields.values()]
    named = is_typeddict(annotation) or hasattr(annotation, "_fields")
    if isinstance(annotation, type) and (named or dataclasses.is_dataclass(annotation)):
        return typing.get_type_hints(annotation).values()
    return ()


def kind_of(raw: bytes) -> int:
    """Return the kind of stored bytes that can be read: `VALUE`, `LOADED`, `MISSING` or `CLAIM`."""
    return read_envelope(raw).kind


def token_of(head: bytes) -> bytes:
    """Return the token of the claim in the first bytes of a loaded value, a miss, or a claim."""
    return head[_HEAD.size : _HEAD.size + TOKEN_BYTES]
