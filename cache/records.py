"""The base of the cache's models. It decides about fields that a model does not have.

| a model is made from | an unknown field |
|---|---|
| arguments of a program, ``model_validate`` | is refused: it would be lost silently |
| bytes of the store, or with ``context=STORED`` | is ignored: a newer version wrote it |
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, ClassVar, Final

from pydantic import BaseModel, ConfigDict, ValidationInfo, model_validator

#: The validation context of stored data: ``SessionData.model_validate_json(row, context=STORED)``.
STORED: Final = MappingProxyType({"origin": "store"})


class Record(BaseModel):
    """An immutable model that refuses unknown fields, except in stored data."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    _known: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def __pydantic_init_subclass__(cls, **options: Any) -> None:
        super().__pydantic_init_subclass__(**options)
        fields = cls.model_fields.items()
        cls._known = frozenset(field.alias or name for name, field in fields)

    @model_validator(mode="before")
    @classmethod
    def _ignore_fields_of_newer_versions(cls, data: Any, info: ValidationInfo) -> Any:
        if info.context is not STORED or not isinstance(data, dict):
            return data
        return {name: value for name, value in data.items() if name in cls._known}


class SensitiveRecord(Record):
    """A record whose fields, and rejected input, do not appear in error messages."""

    model_config = ConfigDict(hide_input_in_errors=True)
