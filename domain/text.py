"""Text for people: text from outside made safe to show, and errors of validation in plain words."""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from typing import Any

#: Found now: Python opens the codec's file, and a process may have no descriptor to spare later.
_encode = codecs.getencoder("unicode_escape")

#: What a value must be, by the type of Pydantic's error; fields come from the error's context.
_REQUIREMENTS = {
    "missing": "it is required",
    "extra_forbidden": "there is no field of this name",
    "string_type": "it must be a text",
    "int_type": "it must be a whole number",
    "int_parsing": "it must be a whole number",
    "int_parsing_size": "it is too large",
    "int_from_float": "it must be a whole number",
    "float_type": "it must be a number",
    "float_parsing": "it must be a number",
    "finite_number": "it must be a finite number",
    "bool_type": "it must be true or false",
    "bool_parsing": "it must be true or false",
    "greater_than": "it must be more than {gt}",
    "greater_than_equal": "it must be at least {ge}",
    "less_than": "it must be less than {lt}",
    "less_than_equal": "it must be at most {le}",
    "string_too_short": "it must have at least {min_length} characters",
    "string_too_long": "it must have at most {max_length} characters",
    "too_short": "it must have at least {min_length} entries",
    "too_long": "it must have at most {max_length} entries",
    "literal_error": "it must be {expected}",
    "enum": "it must be {expected}",
}


def requirement(problem: Mapping[str, Any]) -> str:
    """Return in words what a value must be, such as "it must be a whole number".

    Args:
        problem: one error of a `pydantic.ValidationError`.
    """
    words = _REQUIREMENTS.get(problem["type"])
    if words is None:
        return str(problem["msg"]).removeprefix("Value error, ")
    limits = problem.get("ctx", {}).items()
    return words.format_map({name: _short(limit) for name, limit in limits})


def _short(limit: object) -> object:
    return int(limit) if isinstance(limit, float) and limit.is_integer() else limit


def sentence(phrase: str) -> str:
    """Return a phrase with a capital and a full stop."""
    return f"{phrase[:1].upper()}{phrase[1:]}."


def escaped(text: str, limit: int | None = None) -> str:
    r"""Return `text` with every character that is not visible written as an escape, such as ``\x1b``.

    That covers control characters, newlines, escape sequences, marks that change the direction of text,
    zero-width characters and lone surrogates.

    Args:
        limit: characters of `text` to keep; what follows is left out, and the result says how much.
    """
    kept = text if limit is None else text[:limit]
    shown = kept if kept.isprintable() else "".join(_escape(char) for char in kept)
    cut = len(text) - len(kept)
    return f"{shown}… ({cut:,} more characters)" if cut else shown


def printable(text: str) -> str:
    """Return text without characters that a terminal would act on instead of showing."""
    return "".join(char if char.isprintable() else "�" for char in text)


def _escape(char: str) -> str:
    return char if char.isprintable() else _encode(char, "strict")[0].decode("ascii")
