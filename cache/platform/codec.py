"""Encodes typed values to bytes and decodes them: JSON, compressed when large, in an envelope.

The envelope:

    codec     1 byte    encoding of `body`: 1 JSON, 2 JSON in a zstd frame
    kind      1 byte    V set by a caller, L loaded, M cached miss (the loader found no value), C claim
    version   2 bytes   big-endian: the schema version of the model, see `schema_version`
    only in L, M and C, which `cache.platform.loading` writes:
    claim     16 bytes  token of the load that has claimed the key, or zeros
    until     13 bytes  expiry of that claim: milliseconds since the epoch in decimal digits, or zeros
    fresh     8 bytes   big-endian: end of freshness, milliseconds since the epoch
    took      4 bytes   big-endian: run time of the loader in milliseconds
    in all:
    body                the value; empty in M and C

Bytes that do not begin with a codec byte are JSON without an envelope: counters, and values of the first
version. No JSON text begins with such a control character. Their schema version is 0.
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
from cache.records import STORED
from domain.errors import InvalidInputError

T = TypeVar("T")

JSON: Final = 1
ZSTD: Final = 2

VALUE: Final = ord("V")
LOADED: Final = ord("L")
MISSING: Final = ord("M")
CLAIM: Final = ord("C")

#: Bodies of at most this size are not compressed.
COMPRESS_ABOVE = 1024
#: zstd's fastest standard level: a caller waits for the write.
ZSTD_LEVEL = 1
#: A larger value is refused: it would block the server for other clients.
MAX_VALUE_BYTES = 8 * 2**20

TOKEN_BYTES: Final = 16
_NO_CLAIM = b"0" * (TOKEN_BYTES + 13)
_HEAD = struct.Struct(">BBH")
_LOAD = struct.Struct(f">{len(_NO_CLAIM)}sQI")
LOADED_HEAD_BYTES: Final = _HEAD.size + _LOAD.size
#: The bytes around the token and the expiry in a claim without a value.
CLAIM_HEAD: Final = _HEAD.pack(JSON, CLAIM, 0)
CLAIM_TAIL: Final = bytes(LOADED_HEAD_BYTES - _HEAD.size - len(_NO_CLAIM))


@dataclass(slots=True)
class Envelope:
    """A body and its envelope. `fresh_until_ms` is in milliseconds since the epoch."""

    codec: int
    kind: int
    version: int
    body: bytes
    fresh_until_ms: int = 0
    took_ms: int = 0


class UnreadableValueError(ValueError):
    """Stored bytes without a valid envelope, or with a body that does not fit the model."""


class TooLargeError(InvalidInputError):
    """A value is larger than `MAX_VALUE_BYTES`."""


def read_envelope(raw: bytes) -> Envelope:
    """Split stored bytes into envelope and body; raise UnreadableValueError if damaged."""
    if not raw or raw[0] > ZSTD:
        return Envelope(JSON, VALUE, 0, raw)
    if len(raw) < _HEAD.size:
        raise UnreadableValueError("the envelope is truncated")
    codec, kind, version = _HEAD.unpack_from(raw)
    if codec == 0:
        raise UnreadableValueError("codec 0 does not exist")
    if kind == VALUE:
        return Envelope(codec, kind, version, raw[_HEAD.size :])
    if kind not in (LOADED, MISSING, CLAIM) or len(raw) < LOADED_HEAD_BYTES:
        raise UnreadableValueError(f"kind {kind} does not exist, or the envelope is truncated")
    _claim, fresh, took = _LOAD.unpack_from(raw, _HEAD.size)
    return Envelope(codec, kind, version, raw[LOADED_HEAD_BYTES:], fresh, took)


def decode(raw: bytes, model: type[T]) -> T | None:
    """Return the value in `raw` as `model`; None if it has another schema version or holds no value.

    Raises:
        UnreadableValueError: it is damaged or does not fit `model`. The message does not show the value.
    """
    envelope = read_envelope(raw)
    if envelope.kind not in (VALUE, LOADED) or not fits(envelope, model):
        return None
    return decode_body(envelope, model)


def fits(envelope: Envelope, model: Any) -> bool:
    """Return whether a value has the current schema version of `model`."""
    return envelope.version == _codec_for(model).version


def decode_body(envelope: Envelope, model: type[T]) -> T:
    """Decode the body; raise UnreadableValueError if it does not fit `model`."""
    text = _decompress(envelope.body) if envelope.codec == ZSTD else envelope.body
    try:
        value: T = _codec_for(model).adapter.validate_json(text, context=STORED)
    except ValidationError as error:
        # Not the message, which can contain the value (an unknown union tag, a validator's own text).
        problem = error.errors(include_input=False, include_context=False, include_url=False)[0]
        raise UnreadableValueError(f"its JSON is invalid ({problem['type']})") from None
    return value


def encode(value: Any, model: Any = None) -> bytes:
    """Return the bytes of a value that a caller sets.

    Args:
        model: the type it will be read as; None: its own class.

    Raises:
        InvalidInputError: it is too large, or is a collection of versioned models without `model`.
    """
    form = _codec_for(type(value) if model is None else model)
    text = _text(form, value)
    if model is None:
        _refuse_versioned_members(value)
    codec, body = _body(text)
    return _HEAD.pack(codec, VALUE, form.version) + body


def _text(form: _ModelCodec, value: Any) -> bytes:
    """Return a value as JSON; raise InvalidInputError if it does not fit its model."""
    if not isinstance(value, form.instances):
        # pydantic would write the fields that the value and the model share.
        problem = f"It does not fit the model: it must be a {form.instances.__name__}."
        raise InvalidInputError("value", type(value).__name__, problem)
    try:
        return form.adapter.dump_json(value, warnings="error")
    except (PydanticSerializationError, ValueError, TypeError, RecursionError) as error:
        raise InvalidInputError(
            "value", type(value).__name__, f"It does not fit the model: {error}."
        ) from None


def encode_loaded(value: Any, model: Any, *, fresh_until_ms: int, took_ms: int) -> bytes:
    """Return the bytes of a loaded value."""
    form = _codec_for(model)
    codec, body = _body(_text(form, value))
    return _loaded_head(codec, LOADED, form.version, fresh_until_ms, took_ms) + body


def encode_missing(model: Any, *, fresh_until_ms: int, took_ms: int) -> bytes:
    """Return the bytes of a cached miss: the loader found no value."""
    return _loaded_head(JSON, MISSING, _codec_for(model).version, fresh_until_ms, took_ms)


def _loaded_head(codec: int, kind: int, version: int, fresh_until_ms: int, took_ms: int) -> bytes:
    load = _LOAD.pack(_NO_CLAIM, fresh_until_ms, min(took_ms, 2**32 - 1))
    return _HEAD.pack(codec, kind, version) + load


def _body(text: bytes) -> tuple[int, bytes]:
    if len(text) > MAX_VALUE_BYTES:
        raise TooLargeError(
            "value",
            f"{len(text):,} bytes",
            f"The limit is {MAX_VALUE_BYTES:,} bytes. Store it in parts, or store its location.",
        )
    if len(text) <= COMPRESS_ABOVE:
        return JSON, text
    small = _local.compressor.compress(text)
    return (ZSTD, small) if len(small) < len(text) else (JSON, text)


def _decompress(body: bytes) -> bytes:
    """Decompress a zstd frame; a declared size that no stored value has means that it is damaged."""
    try:
        size = zstandard.frame_content_size(body)
        if not 0 <= size <= MAX_VALUE_BYTES:
            raise UnreadableValueError("its compressed body declares an impossible size")
        return _local.decompressor.decompress(body)
    except zstandard.ZstdError as error:
        raise UnreadableValueError(f"its compressed body is damaged ({error})") from None


def _refuse_versioned_members(value: Any) -> None:
    """Refuse a collection of versioned models: its class alone does not say its schema version."""
    if not _is_collection(type(value)):
        return
    members = list(value.values() if isinstance(value, Mapping) else value)
    kinds: set[Any] = {type(member) for member in members}
    for kind in kinds:
        if schema_version(kind):
            raise InvalidInputError(
                "model",
                None,
                f"{kind.__name__} has a cache_version: pass the type of the collection, "
                f"for example model=list[{kind.__name__}].",
            )
    if any(map(_is_collection, kinds)):
        for member in members:
            _refuse_versioned_members(member)


def _is_collection(kind: Any) -> bool:
    return issubclass(kind, Collection) and not issubclass(kind, str | bytes)


class _Zstd(threading.local):
    """zstd contexts of one thread: they are expensive to create and must not be shared."""

    def __init__(self) -> None:
        self.compressor = zstandard.ZstdCompressor(level=ZSTD_LEVEL)
        self.decompressor = zstandard.ZstdDecompressor()


_local = _Zstd()


@dataclass(frozen=True, slots=True)
class _ModelCodec:
    """A model's type adapter and schema version."""

    adapter: TypeAdapter[Any]
    version: int
    instances: type
    """The class of its values; `object` if there is none to check."""


_codecs: dict[Any, _ModelCodec] = {}


def check_model(model: Any) -> None:
    """Raise InvalidInputError for a type that pydantic cannot read and write."""
    _codec_for(model)


def _codec_for(model: Any) -> _ModelCodec:
    if isinstance(model, str):
        raise InvalidInputError("model", model, "It must be a type, not its name.")
    try:
        form = _codecs.get(model)
        return _new_codec(model) if form is None else form
    except InvalidInputError:
        raise
    except Exception as error:  # pydantic's, or one of the caller's class
        reason = str(error)[:200].partition("\n")[0].rstrip(".")
        problem = f"It must be a type that pydantic can read and write: {reason}."
        raise InvalidInputError("model", model, problem) from None


def _new_codec(model: Any) -> _ModelCodec:
    is_model = isinstance(model, type) and issubclass(model, BaseModel)
    generic = model.__pydantic_generic_metadata__["origin"] if is_model else object
    form = _ModelCodec(TypeAdapter(model), schema_version(model), generic or model)
    _codecs[model] = form
    return form


@cache
def schema_version(model: Any) -> int:
    """Return the schema version of a type: the sum of `cache_version` over all models within it.

    A model declares ``cache_version: ClassVar[int] = 2`` (the default is 0). Raising it by one also
    raises the version of every type that contains the model: values of the old schema become misses.
    """
    seen: set[Any] = set()
    version = sum(_own_version(part) for part in _parts(model, seen))
    if not 0 <= version < 2**16:
        problem = f"The sum of the cache versions within {model!r} must be 0 to 65535."
        raise InvalidNumberError("cache_version", version, problem)
    return version


def _own_version(part: Any) -> int:
    return int(getattr(part, "cache_version", 0)) if isinstance(part, type) else 0


def _parts(annotation: Any, seen: set[Any]) -> Iterator[Any]:
    """Yield every class within an annotation once, including those of model fields."""
    try:
        if annotation in seen:
            return
        seen.add(annotation)
    except TypeError:  # not hashable, such as the argument of Literal[[…]]
        return
    yield annotation
    for argument in (*typing.get_args(annotation), *_fields(annotation)):
        yield from _parts(argument, seen)


def _fields(annotation: Any) -> Iterable[Any]:
    """Return the field types of a model, dataclass, TypedDict or named tuple."""
    if annotation is BaseModel:
        return ()
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        # A field may refer to a class that is defined after its model.
        annotation.model_rebuild()
        return [field.annotation for field in annotation.model_fields.values()]
    named = is_typeddict(annotation) or hasattr(annotation, "_fields")
    if isinstance(annotation, type) and (named or dataclasses.is_dataclass(annotation)):
        return typing.get_type_hints(annotation).values()
    return ()


def kind_of(raw: bytes) -> int:
    """Return the kind of stored bytes: `VALUE`, `LOADED`, `MISSING` or `CLAIM`."""
    return read_envelope(raw).kind


def token_of(head: bytes) -> bytes:
    """Return the claim's token from the first bytes of a loaded value, a cached miss or a claim."""
    return head[_HEAD.size : _HEAD.size + TOKEN_BYTES]
