"""From bytes to models. What the service sends is checked here, and nowhere else."""

from __future__ import annotations

import json
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from datetime import datetime
from enum import StrEnum
from functools import cache
from typing import Any, TypeVar, cast

from seen_client.errors import UnexpectedAnswerError

T = TypeVar("T")

_PLAIN = (str, int, bool, type(None))


def json_of(body: bytes | str) -> Any:
    """Return the JSON of a body.

    Raises:
        UnexpectedAnswerError: it is none.
    """
    try:
        return json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise UnexpectedAnswerError(f"The answer is not valid JSON: {error}.") from None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def decoded(model: type[T], value: object, place: str = "the answer") -> T:
    """Return a JSON value as a model, with all its parts checked.

    Raises:
        UnexpectedAnswerError: a field is missing or of another type; the text names it.
    """
    return cast(T, _decoded(model, value, place))


def _decoded(hint: Any, value: object, place: str) -> object:
    if is_dataclass(hint):
        return _model(cast(type, hint), value, place)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in {types.UnionType, typing.Union}:
        return _one_of(arguments, value, place)
    if origin is tuple:
        items = _required(list, value, place)
        return tuple(_decoded(arguments[0], one, f"{place}[{n}]") for n, one in enumerate(items))
    if origin is Mapping:
        known = _required(dict, value, place)
        return {name: _decoded(arguments[1], one, f"{place}.{name}") for name, one in known.items()}
    return _scalar(hint, value, place)


def _model(model: type, value: object, place: str) -> object:
    given = _required(dict, value, place)
    known: dict[str, object] = {}
    for name, (hint, is_needed) in _fields(model).items():
        if name in given:
            known[name] = _decoded(hint, given[name], f"{place}.{name}")
        elif is_needed:
            raise UnexpectedAnswerError(f"{place}.{name} is missing.")
    return model(**known)


@cache
def _fields(model: type) -> Mapping[str, tuple[Any, bool]]:
    """Return the type of each field, and whether an answer has to have it."""
    hints = typing.get_type_hints(model)
    return {
        one.name: (hints[one.name], one.default is MISSING and one.default_factory is MISSING)
        for one in fields(model)
    }


def _one_of(hints: tuple[Any, ...], value: object, place: str) -> object:
    """Return the value as the first of some types that it fits; enums come before `str`."""
    failure = _wrong(place, value)
    for hint in hints:
        if (hint is types.NoneType) is (value is None):
            try:
                return _decoded(hint, value, place)
            except UnexpectedAnswerError as error:
                failure = error
    raise failure


def _scalar(hint: Any, value: object, place: str) -> object:
    if hint is object:
        return value
    if hint in _PLAIN:
        return _required(hint, value, place)
    if hint is float:
        return _number(value, place)
    text = _required(str, value, place)
    try:
        found = hint(text) if issubclass(hint, StrEnum) else datetime.fromisoformat(text)
    except ValueError:
        raise _wrong(place, value) from None
    if isinstance(found, datetime) and found.tzinfo is None:
        raise _wrong(place, value)
    return found


def _number(value: object, place: str) -> float:
    if type(value) is int and abs(value) < 2**64:
        return float(value)
    number = _required(float, value, place)
    if not math.isfinite(number):
        raise _wrong(place, value)
    return number


def _required(kind: type[T], value: object, place: str) -> T:
    if type(value) is not kind:
        raise _wrong(place, value)
    return value


def _wrong(place: str, value: object) -> UnexpectedAnswerError:
    shown = ascii(value)
    return UnexpectedAnswerError(f"{place[:200]} is not as documented: {shown[:80]}.")
