"""Errors of validation in the words of this project."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from domain.job import Priority
from domain.text import requirement, sentence


class _Example(BaseModel):
    model_config = ConfigDict(extra="forbid")

    count: Annotated[int, Field(ge=1, le=32)] = 1
    rate: Annotated[float, Field(gt=0, lt=1e6, allow_inf_nan=False)] = 1.0
    is_on: bool = False
    name: Annotated[str, Field(min_length=2, max_length=4)] = "name"
    names: Annotated[list[str], Field(min_length=1, max_length=2)] = ["a"]
    level: Literal["INFO", "ERROR"] = "INFO"
    priority: Priority = Priority.NORMAL


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"count": "abc"}, "it must be a whole number"),
        ({"count": []}, "it must be a whole number"),
        ({"count": 1.5}, "it must be a whole number"),
        ({"count": "9" * 5000}, "it is too large"),
        ({"count": 0}, "it must be at least 1"),
        ({"count": 33}, "it must be at most 32"),
        ({"rate": "abc"}, "it must be a number"),
        ({"rate": []}, "it must be a number"),
        ({"rate": "nan"}, "it must be a finite number"),
        ({"rate": 0}, "it must be more than 0"),
        ({"rate": 1e6}, "it must be less than 1000000"),
        ({"is_on": "perhaps"}, "it must be true or false"),
        ({"is_on": []}, "it must be true or false"),
        ({"name": 1}, "it must be a text"),
        ({"name": "a"}, "it must have at least 2 characters"),
        ({"name": "abcde"}, "it must have at most 4 characters"),
        ({"names": []}, "it must have at least 1 entries"),
        ({"names": ["a", "b", "c"]}, "it must have at most 2 entries"),
        ({"level": "x"}, "it must be 'INFO' or 'ERROR'"),
        ({"priority": "x"}, "it must be 'high', 'normal' or 'low'"),
        ({"other": 1}, "there is no field of this name"),
    ],
    ids=str,
)
def test_requirement_is_in_plain_words(given: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError) as raised:
        _Example(**given)
    (problem,) = raised.value.errors(include_url=False)
    assert requirement(problem) == says
    assert re.fullmatch(r"[A-Z].*\.", sentence(says))
