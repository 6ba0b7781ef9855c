"""One resource of the test origin, with a behaviour that a test may change at any time."""

from __future__ import annotations

import dataclasses
import threading
from typing import Any

from tests.support.origins.behaviour import (
    Behaviour,
    Fault,
    FaultKind,
    Plan,
    Request,
    etag_of,
    plan_error,
    plan_resource,
)
from tests.support.origins.content import Content

FAULT_FIELDS = {"faults", "truncate_after", "reset_after", "hang_after"}
KINDS: tuple[FaultKind, ...] = ("truncate", "reset", "hang")


class ServedFile:
    """A resource of an origin: its content, its address, its behaviour."""

    def __init__(self, url: str, path: str, content: Content, behaviour: dict[str, Any]) -> None:
        """Made by `Origin.serve`. Raises `TypeError` for an unknown behaviour."""
        self.url = url
        self.path = path
        self._content = content
        self._lock = threading.Lock()
        self._behaviour = Behaviour(**behaviour)
        self._statuses = list(self._behaviour.statuses)
        self._faults_left = self._behaviour.faults

    @property
    def size(self) -> int:
        """The number of bytes of the whole resource."""
        return self._content.size

    @property
    def sha256(self) -> str:
        """The hexadecimal SHA-256 of the whole resource."""
        return self._content.sha256

    @property
    def etag(self) -> str | None:
        """The ETag field it is served with."""
        return etag_of(self._content, self.behaviour)

    @property
    def behaviour(self) -> Behaviour:
        """The behaviour of the next request."""
        with self._lock:
            return self._behaviour

    def body_slice(self, start: int, stop: int) -> bytes:
        """The bytes from `start` up to, not including, `stop`."""
        return self._content.slice(start, stop)

    def behave(self, **changes: Any) -> None:
        """Change the behaviour from the next request on; answers on their way stay as they are.

        Naming `statuses` starts that list anew; naming a fault or `faults` starts the count of
        faults anew. Raises `TypeError` for an unknown behaviour.
        """
        with self._lock:
            self._behaviour = dataclasses.replace(self._behaviour, **changes)
            if "statuses" in changes:
                self._statuses = list(self._behaviour.statuses)
            if FAULT_FIELDS & changes.keys():
                self._faults_left = self._behaviour.faults

    def plan(self, request: Request) -> tuple[Behaviour, Plan]:
        """The answer to a request, with its share of the statuses and faults used up."""
        with self._lock:
            behaviour = self._behaviour
            plan = self._plan(request, behaviour)
            if behaviour.respond is not None:
                plan = behaviour.respond(request, plan)
            if request.method == "GET" and plan.content is self._content:
                plan.fault = plan.fault or self._next_fault(behaviour, plan)
            return behaviour, plan

    def _plan(self, request: Request, behaviour: Behaviour) -> Plan:
        forced = self._statuses.pop(0) if self._statuses else behaviour.status
        if forced not in (None, 200):
            return plan_error(forced, behaviour)
        if behaviour.redirect is not None:
            return plan_error(302, dataclasses.replace(behaviour, retry_after=None))
        return plan_resource(request, self._content, behaviour)

    def _next_fault(self, behaviour: Behaviour, plan: Plan) -> Fault | None:
        """The earliest fault that this response is long enough for."""
        places = (behaviour.truncate_after, behaviour.reset_after, behaviour.hang_after)
        faults = [Fault(kind, at) for kind, at in zip(KINDS, places, strict=True) if at is not None]
        within = [fault for fault in faults if fault.after < plan.length]
        if not within or self._faults_left == 0:
            return None
        if self._faults_left is not None:
            self._faults_left -= 1
        return min(within, key=lambda fault: fault.after)
