"""From models to what the service is sent."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any


def body_of(value: object) -> bytes:
    """Return a JSON body. Fields of models that have their default are left out."""
    return json.dumps(_plain(value), allow_nan=False).encode()


def _plain(value: object) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        given = {one.name: getattr(value, one.name) for one in fields(value)}
        left_out = {one.name for one in fields(value) if given[one.name] == _default(one)}
        return {name: _plain(one) for name, one in given.items() if name not in left_out}
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, tuple | list) else value


def _default(one: Field[Any]) -> object:
    return one.default if one.default_factory is MISSING else one.default_factory()
