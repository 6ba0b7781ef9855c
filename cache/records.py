"""The base of the cache's models. It decides about fields that a model does not have.

| a model is made from | an unknown field |
|---|---|
| arguments of a program, ``model_validate`` | is refused: it would be lost silently |
| ``model_copy(update=…)``, ``model_construct`` | is refused, too |
| bytes of the store, or with ``context=STORED`` | is ignored: a newer version wrote it |
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Final, Self

from pydantic import BaseModel, ConfigDict, ValidationInfo, model_validator

from domain.errors import InvalidInputError

#: The validation context of stored data: ``SessionData.model_validate_json(row, context=STORED)``.
STORED: Final = MappingProxyType({"origin": "store"})


class Record(BaseModel):
    """An immutable model that refuses unknown fields, except in stored data."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: The names that the constructor accepts.
    _known: ClassVar[frozenset[str]] = frozenset()
    #: Those of arguments that the constructor turns into something else, such as a token into its hash.
    _arguments: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def __pydantic_init_subclass__(cls, **options: Any) -> None:
        super().__pydantic_init_subclass__(**options)
        fields = cls.model_fields.items()
        cls._known = frozenset(field.alias or name for name, field in fields)
        cls._arguments = frozenset(field.alias or name for name, field in fields if field.exclude)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy with the fields and arguments of `update`, checked as the constructor does.

        Raises:
            ValidationError: `update` has an unknown name, or a value that the constructor refuses.
        """
        copied = super().model_copy(deep=deep)
        if not update:
            return copied
        fields = type(self).model_fields
        # Only what was set: of the copy, too, `model_dump(exclude_unset=True)` has no defaults.
        held = {
            name: getattr(copied, name)
            for name in copied.model_fields_set
            if not fields[name].exclude
        }
        return type(self).model_validate({**held, **update})

    def copy(  # type: ignore[override]  # without parts of a model, which would lack fields
        self, *, update: Mapping[str, Any] | None = None, deep: bool = False
    ) -> Self:
        """The older name of `model_copy`."""
        return self.model_copy(update=update, deep=deep)

    @classmethod
    def model_construct(  # type: ignore[override]  # the type checker derives one per model
        cls, _fields_set: set[str] | None = None, **values: Any
    ) -> Self:
        """Build a model from trusted values without a check of them; only the names are checked.

        Raises:
            InvalidInputError: a name is unknown, or an argument that only the constructor can convert.
        """
        for name, value in values.items():
            if name not in cls._known - cls._arguments:
                requirement = f"Without checks, {cls.__name__} is built from its fields only."
                raise InvalidInputError(name, type(value).__name__, requirement)
        return super().model_construct(_fields_set, **values)

    @model_validator(mode="before")
    @classmethod
    def _ignore_fields_of_newer_versions(cls, data: Any, info: ValidationInfo) -> Any:
        if info.context is not STORED or not isinstance(data, dict):
            return data
        return {name: value for name, value in data.items() if name in cls._known}


class SensitiveRecord(Record):
    """A record whose fields, and rejected input, do not appear in error messages."""

    model_config = ConfigDict(hide_input_in_errors=True)
