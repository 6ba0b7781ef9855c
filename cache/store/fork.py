"""What a forked child must not share with its parent: sockets, and locks that a thread there held."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

Owner = TypeVar("Owner")

_beginnings: WeakKeyDictionary[Any, Callable[[Any], None]] = WeakKeyDictionary()


def begin_in_each_process(owner: Owner, begin: Callable[[Owner], None]) -> None:
    """Call ``begin(owner)`` now, and again in every child that is forked while the owner lives."""
    begin(owner)
    _beginnings[owner] = begin


def _begin_anew() -> None:
    for owner, begin in list(_beginnings.items()):
        begin(owner)


os.register_at_fork(after_in_child=_begin_anew)
