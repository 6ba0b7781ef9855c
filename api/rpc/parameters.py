"""Parameters of methods: their types, as aria2 checks them. More than a method has are ignored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from api.rpc.errors import RpcError

#: A whole number that aria2 can read.
_LARGEST = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a method.

    Attributes:
        name: for the documentation.
        check: returns the value, or raises RpcError; it gets the position, too.
        is_required: else the method's default counts.
    """

    name: str
    check: Callable[[object, int], Any]
    is_required: bool = True

    @property
    def shown(self) -> str:
        """How the documentation names it."""
        return self.name if self.is_required else f"[{self.name}]"


def read(parameters: Sequence[Parameter], given: Sequence[object]) -> list[Any]:
    """Return the values of parameters; those that are left out at the end are not in the list.

    Raises:
        RpcError: one is missing, or of another type.
    """
    values = []
    for position, parameter in enumerate(parameters):
        if position >= len(given):
            if parameter.is_required:
                raise RpcError(f"The parameter at {position} is required but missing.")
            break
        values.append(parameter.check(given[position], position))
    return values


def _wrong_type(position: int) -> RpcError:
    return RpcError(f"The parameter at {position} has wrong type.")


def text(value: object, position: int) -> str:
    """Return a text."""
    if not isinstance(value, str):
        raise _wrong_type(position)
    return value


def texts(value: object, position: int) -> list[str]:
    """Return the texts of a list; what is none is left out, as by aria2."""
    if not isinstance(value, list):
        raise _wrong_type(position)
    return [one for one in value if isinstance(one, str)]


def items(value: object, position: int) -> list[Any]:
    """Return a list of anything."""
    if not isinstance(value, list):
        raise _wrong_type(position)
    return value


def struct(value: object, position: int) -> Mapping[str, Any]:
    """Return a struct."""
    if not isinstance(value, dict):
        raise _wrong_type(position)
    return value


def whole(value: object, position: int) -> int:
    """Return a whole number; aria2 cuts off what follows a decimal point, too."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong_type(position)
    if not -_LARGEST <= value <= _LARGEST:
        raise _wrong_type(position)
    return int(value)


def count(value: object, position: int) -> int:
    """Return a number of downloads."""
    number = whole(value, position)
    if number < 0:
        raise RpcError(
            f"The integer parameter at {position} has invalid value: "
            "the value must be greater than or equal to 0."
        )
    return number


def place(value: object, position: int) -> int:
    """Return a position in the queue."""
    number = whole(value, position)
    if number < 0:
        raise RpcError("Position must be greater than or equal to 0.")
    return number
