"""Reads a raw broker message before kombu does: size, encoding, and the outer fields.

Any program with access to the broker can write anything into a queue, and kombu decodes it without a
limit. So every raw message is read here first: uncompressed, JSON, and no larger than this project's.
"""

from __future__ import annotations

import base64
import json
from typing import Any, NamedTuple, NoReturn
from uuid import uuid4

from kombu.utils.json import object_hook


class InvalidMessageError(Exception):
    """A message that is refused; its text is the reason, without a full stop."""


class Envelope(NamedTuple):
    """What was read from a raw message."""

    headers: dict[str, Any]
    body: Any
    """Decoded from JSON."""
    encoded_body: str
    """As it came: JSON in base64."""


def read_envelope(raw: bytes, limit: int) -> Envelope:
    """Read a raw message of at most `limit` bytes.

    Raises:
        InvalidMessageError: it is larger, or one of its fields is invalid.
    """
    if len(raw) > limit:
        raise InvalidMessageError(f"it has {len(raw):,} bytes, and at most {limit:,} are read")
    message = decode_json(raw, "the message", _PLAIN)
    if not isinstance(message, dict):
        raise InvalidMessageError(f"it is {kind_of(message)}, not an object")
    headers = _object(message, "headers")
    properties = _object(message, "properties")
    if headers.get("compression") is not None:
        raise InvalidMessageError("it is compressed, and no message of this project is")
    _expect(message, "content-type", "application/json")
    _expect(message, "content-encoding", "utf-8")
    _expect(properties, "body_encoding", "base64")
    encoded = message.get("body")
    return Envelope(headers, _body(encoded), str(encoded))


def new_message(headers: dict[str, Any], encoded_body: str, exchange: str, key: str) -> Any:
    """Return a message as kombu expects it, made of checked parts alone."""
    return {
        "body": encoded_body,
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": headers,
        "properties": {
            "body_encoding": "base64",
            "delivery_mode": 2,
            "delivery_info": {"exchange": exchange, "routing_key": key},
            "delivery_tag": str(uuid4()),
            "priority": 0,
        },
    }


def encode_body(body: object) -> str:
    """Return a body as messages carry it: JSON in base64."""
    return base64.b64encode(json.dumps(body).encode()).decode()


def decode_json(raw: bytes, what: str, decoder: json.JSONDecoder) -> Any:
    """Decode JSON; `what` names it in the reason.

    Raises:
        InvalidMessageError: it is not JSON, or cannot be held.
    """
    try:
        return decoder.decode(raw.decode())
    except RecursionError:
        raise InvalidMessageError(f"{what} is nested too deeply") from None
    except (
        Exception
    ) as error:  # typed values run decoders of many types, which raise what they like
        raise InvalidMessageError(f"{what} is not JSON: {error}") from None


def kind_of(value: object) -> str:
    """Name the JSON type of a value."""
    if value is None:
        return "null"
    names = {bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "a list"}
    return names.get(type(value), "an object")


def _body(encoded: object) -> Any:
    if not isinstance(encoded, str):
        raise InvalidMessageError(f"its body is {kind_of(encoded)}, not a string")
    try:
        raw = base64.b64decode(encoded, validate=True)
    except ValueError:
        raise InvalidMessageError("its body is not base64") from None
    return decode_json(raw, "its body", _TYPED)


def _object(message: dict[str, Any], name: str) -> dict[str, Any]:
    value = message.get(name)
    if not isinstance(value, dict):
        raise InvalidMessageError(f"its {name} are {kind_of(value)}, not an object")
    return value


def _expect(fields: dict[str, Any], name: str, wanted: str) -> None:
    if fields.get(name) != wanted:
        raise InvalidMessageError(f"its {name} is {fields.get(name)!r:.80}, not {wanted!r}")


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


#: For headers and properties, which hold no typed values: some of those (a signalling NaN) cannot be
#: compared.
_PLAIN = json.JSONDecoder(parse_constant=_refuse)
#: For bodies: replies to control commands may hold kombu's typed values, such as times.
_TYPED = json.JSONDecoder(object_hook=object_hook, parse_constant=_refuse)
