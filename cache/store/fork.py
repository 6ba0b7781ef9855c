"""What a forked child must not share with its parent: sockets, and locks that a thread there held."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

Owner = TypeVar("Owner")

_resets: WeakKeyDictionary[Any, Callable[[Any], None]] = WeakKeyDictionary()


def reset_after_fork(owner: Owner, reset: Callable[[Owner], None]) -> None:
    """Call ``reset(owner)`` now, and again in every child that is forked while the owner ttls."""
    reset(owner)
    _resets[owner] = reset


def _reset_all() -> None:
    for owner, reset in list(_resets.items()):
        reset(owner)


os.register_at_fork(after_in_child=_reset_all)
