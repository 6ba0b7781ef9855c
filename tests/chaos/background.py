"""A thread that repeats one function until it is closed."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod


class Background(ABC):
    """Does `step`, with a pause before each, in a thread of its own.

    Args:
        name: of the thread.
        pause: seconds.
    """

    def __init__(self, name: str, pause: float) -> None:
        self._pause = pause
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._failure: BaseException | None = None

    @abstractmethod
    def step(self) -> None:
        """Do it once."""

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """Wait for the step under way, and raise what ended the thread before its time."""
        self._closing.set()
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            while not self._closing.wait(self._pause):
                self.step()
        except BaseException as error:
            self._failure = error
