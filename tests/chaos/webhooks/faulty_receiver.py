"""A receiver of webhooks that can be down, silent, slow, or answer wrongly, and notes what it gets."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import NamedTuple

from tests.support.closing import Closing
from tests.support.servers.tcp_proxy import Proxy
from tests.support.servers.webhook_receiver import Answer, Received, WebhookReceiver

#: Where redirects lead to: nothing may arrive there.
ELSEWHERE = "/elsewhere"
#: Seconds for which a slow receiver waits before it answers, unless it is healed.
SLOWNESS = 3.0

GOOD = Answer()
#: By the name of a fault: the wrong answer.
WRONG_ANSWERS: Mapping[str, Answer] = MappingProxyType(
    {
        "redirects": Answer(307, {"location": ELSEWHERE}),
        "answers 500": Answer(500),
        "closes in the middle of its answer": Answer(200, {}, b"half", missing=100),
    }
)


class Arrival(NamedTuple):
    """One request that arrived, when, and whether it was answered as a delivery that is accepted."""

    at: datetime
    request: Received
    is_accepted: bool


class FaultyReceiver(Closing):
    """Listens once made.

    Attributes:
        arrivals: in their order.
    """

    def __init__(self) -> None:
        self._receiver = WebhookReceiver()
        self._line = Proxy(self._receiver.port)
        self._answer, self._is_healed = GOOD, threading.Event()
        self._is_healed.set()
        self._lock = threading.Lock()
        self.arrivals: list[Arrival] = []
        self._receiver.answer = self._note

    def url(self, path: str) -> str:
        """The address of a path."""
        return f"http://{self._line.addr}{path}"

    def break_by(self, what: str) -> None:
        """Begin a fault by its name."""
        begin: Mapping[str, Callable[[], None]] = {
            "is down": self._line.cut,
            "is silent": self._line.pause,
            "is slow": self._is_healed.clear,
        }
        if what in begin:
            begin[what]()
        else:
            self._answer = WRONG_ANSWERS[what]

    def heal(self) -> None:
        """End all faults."""
        self._answer = GOOD
        self._is_healed.set()
        self._line.resume()
        self._line.heal()

    def close(self) -> None:
        """Stop."""
        self.heal()
        self._line.close()
        self._receiver.close()

    def _note(self, request: Received) -> Answer:
        with self._lock:
            answer = self._answer
            self.arrivals.append(Arrival(datetime.now(UTC), request, answer is GOOD))
        self._is_healed.wait(SLOWNESS)
        return answer


#: All that can be wrong with a receiver.
FAULTS = ("is down", "is silent", "is slow", *WRONG_ANSWERS)
