"""What an operation asks of the program that runs it.

An operation is written once, as a *flow*: a generator that yields steps and receives what each has
given. It does no I/O. `Client` runs flows blocking, `AsyncClient` on asyncio.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeAlias, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Request:
    """A request of HTTP.

    Attributes:
        method: GET, POST, …
        path: below the address of the service, quoted.
        parameters: of the query; a name may come several times.
        body: JSON.
        headers: beside those that every request has.
        is_repeatable: twice is as good as once, so it is sent again where no answer has come.
        accept: the content type that a good answer has.
        read_timeout: seconds without a byte of the answer; None for that of the client.
    """

    method: str
    path: str
    parameters: tuple[tuple[str, str], ...] = ()
    body: bytes | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    is_repeatable: bool = False
    accept: str = "application/json"
    read_timeout: float | None = None


@dataclass(frozen=True, slots=True)
class Head:
    """The beginning of an answer; the names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]

    @property
    def content_type(self) -> str:
        """The type without parameters, in lower case."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer."""

    head: Head
    body: bytes


@dataclass(frozen=True, slots=True)
class Open:
    """Send a request; gives the `Head` of the answer. The answer before it is closed."""

    request: Request


@dataclass(frozen=True, slots=True)
class Read:
    """Gives the next bytes of the open answer; none at its end."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait for some seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Work:
    """Call a function that waits for a disk; gives what it returns."""

    function: Callable[[], object]


@dataclass(frozen=True, slots=True)
class Emit(Generic[T]):
    """Give a value to the caller of an iterator."""

    value: T


Step: TypeAlias = Open | Read | Pause | Work
#: An operation with one result.
Flow: TypeAlias = Generator[Step, Any, T]
#: An operation with many results, one after the other.
Stream: TypeAlias = Generator[Step | Emit[T], Any, None]


def open_answer(request: Request) -> Flow[Head]:
    """Send a request and return the head of its answer."""
    head: Head = yield Open(request)
    return head


def read() -> Flow[bytes]:
    """Return the next bytes of the open answer."""
    data: bytes = yield Read()
    return data


def work(function: Callable[[], T]) -> Flow[T]:
    """Return what a function returns that waits for a disk."""
    result: T = yield Work(function)
    return result
