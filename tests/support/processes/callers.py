"""A process whose threads or tasks request the same value at once. Run, not imported:

    python -m tests.support.processes.callers sync|async FOLDER CALLERS SECONDS LOAD_TIMEOUT

The store is the one in the environment. It makes the file ``ready-PID``, and begins when there is a file
``go``. Each run of its loader appends a line to the file ``loads`` and takes `SECONDS`. In the end it
appends to ``found`` a line for each of its callers: what that one got, or the name of an error.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cache import CacheManager
from settings import Settings

KEY = "seen:catalog:dashboard:everybody"
VALUE = "the value"
#: Longer than any call takes on this machine: no caller may time out.
WAIT = 100.0


class Notes:
    """The files of one folder that all processes write whole lines into."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, name: str, text: str) -> None:
        """Append a line."""
        file = os.open(self._folder / name, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        os.write(file, f"{text}\n".encode())
        os.close(file)

    def wait_for_start(self) -> None:
        """Say that we are ready, and wait until all are."""
        (self._folder / f"ready-{os.getpid()}").touch()
        while not (self._folder / "go").exists():
            time.sleep(0.01)


def with_threads(
    notes: Notes, callers: int, load: Callable[[], None], load_timeout: float
) -> list[object]:
    """Call from as many threads."""

    def loader() -> str:
        load()
        return VALUE

    barrier = threading.Barrier(callers, action=notes.wait_for_start)
    with CacheManager.connect(Settings()) as manager, ThreadPoolExecutor(callers) as pool:

        def call(_: int) -> object:
            barrier.wait()
            try:
                return manager.service.get_or_load(
                    KEY, str, loader, 60, wait=WAIT, load_timeout=load_timeout
                )
            except Exception as error:
                return repr(error)

        return list(pool.map(call, range(callers)))


async def with_tasks(
    notes: Notes, callers: int, load: Callable[[], None], load_timeout: float
) -> list[object]:
    """Call from as many tasks."""

    async def loader() -> str:
        await asyncio.to_thread(load)
        return VALUE

    async with CacheManager.connect_async(Settings()) as manager:
        await asyncio.to_thread(notes.wait_for_start)
        calls = (
            manager.service.get_or_load(KEY, str, loader, 60, wait=WAIT, load_timeout=load_timeout)
            for _ in range(callers)
        )
        return list(await asyncio.gather(*calls, return_exceptions=True))


def main(side: str, folder: str, callers: int, seconds: float, load_timeout: float) -> None:
    """Call, and write down what came of it."""
    notes = Notes(Path(folder))

    def load() -> None:
        notes.write("loads", str(os.getpid()))
        time.sleep(seconds)

    if side == "sync":
        found = with_threads(notes, callers, load, load_timeout)
    else:
        found = asyncio.run(with_tasks(notes, callers, load, load_timeout))
    for one in found:
        notes.write("found", str(one))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), float(sys.argv[5]))
