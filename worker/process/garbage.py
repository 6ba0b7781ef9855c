"""How often a worker process looks for garbage: objects that only refer to each other."""

from __future__ import annotations

import gc

#: New objects before the youngest are looked at. By Python's default (700), each turn of the loop with a
#: thousand transfers causes some looks, and every few seconds one at all objects of the process, for
#: which all of its downloads wait.
_NEW_OBJECTS = 10_000


def settle() -> None:
    """Look less often from now on, and at no object that exists by now: what a start loads stays."""
    gc.freeze()
    _, *older = gc.get_threshold()
    gc.set_threshold(_NEW_OBJECTS, *older)
