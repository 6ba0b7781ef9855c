"""Flows: logic without I/O ("sans-I/O", as in the `auth_flow` generators of httpx).

A flow is a generator. It yields a step (commands for the store, a sleep, a function to call) and
receives the result of that step. `SyncStore` runs a flow with blocking I/O, `AsyncStore` runs it on
asyncio. A flow calls another one with ``yield from``, and several at once with ``yield from gather(…)``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

R = TypeVar("R")

#: How often several futures are looked at while all flows wait. Seconds.
_POLL_INTERVAL = 0.02

Argument = str | int | float | bytes
Command = tuple[Argument, ...]


class Batch:
    """Commands for one round trip. The result is the list of their raw replies (RESP2).

    Args:
        commands: each is a tuple: the command's name and its arguments.
        atomic: run them in one transaction (MULTI, EXEC).
        once: do not retry after a lost reply. For commands that are not idempotent, such as INCRBY.
        errors_as_replies: put a command's error into the list instead of raising the first error.
        await_reply: when the caller is interrupted (cancelled, or by a signal), still wait for the
            reply. For commands that the caller then undoes with another command.

    Raises (at the ``yield``):
        StoreUnavailableError: no reply, or a server that cannot serve (out of memory, read-only,
            loading).
        StoreReplyError: the server refused a command, for example because its key has another type.
    """

    __slots__ = ("atomic", "await_reply", "commands", "errors_as_replies", "once")

    def __init__(
        self,
        *commands: Command,
        atomic: bool = False,
        once: bool = False,
        errors_as_replies: bool = False,
        await_reply: bool = False,
    ) -> None:
        self.commands = commands
        self.atomic = atomic
        self.once = once
        self.errors_as_replies = errors_as_replies
        self.await_reply = await_reply


class Pipeline:
    """Batches of several flows, sent in order as one block. Each has an outcome of its own.

    The result is a list with one entry for each batch: its replies, or the exception that the batch
    would have raised alone.
    """

    __slots__ = ("batches",)

    def __init__(self, batches: Sequence[Batch]) -> None:
        self.batches = batches


class Sleep:
    """Sleep for some seconds."""

    __slots__ = ("seconds",)

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds


class Call:
    """Call a function of the application. On asyncio it may be a coroutine function."""

    __slots__ = ("function",)

    def __init__(self, function: Callable[[], Any]) -> None:
        self.function = function


class BlockingCall:
    """Call a function of this package that blocks for one short I/O. On asyncio it runs in a thread."""

    __slots__ = ("function",)

    def __init__(self, function: Callable[[], Any]) -> None:
        self.function = function


class WaitFor:
    """Wait for a future, at most `timeout` seconds. The result says whether it is done."""

    __slots__ = ("future", "timeout")

    def __init__(self, future: Future[Any], timeout: float) -> None:
        self.future = future
        self.timeout = timeout


Step = Batch | Pipeline | Sleep | Call | BlockingCall | WaitFor
Flow = Generator[Step, Any, R]


# ── several flows ────────────────────────────────────────────────────────────────────────────────


def gather(*flows: Flow[Any]) -> Flow[list[Any]]:
    """Run flows side by side in as few round trips as the longest needs; return their results in order.

    The server runs what they send in one round in the order of the flows.

    Raises:
        Exception: the first one, in the order of the flows, that a flow has raised. It is raised when
            all have ended: none is left half-way.
    """
    results = yield from lockstep(flows)
    for result in results:
        if isinstance(result, Exception):
            raise result
    return results


def lockstep(flows: Sequence[Flow[Any]]) -> Flow[list[Any]]:
    """Run flows side by side; return for each what it returns, or the exception that it raises.

    The batches that the flows yield in one round become one `Pipeline`. No flow starts before the first
    round: a clock that it reads before its first batch is read just before that is sent. What is no
    batch is done for its flow alone: a function is called at once, and a flow that sleeps or waits
    takes no part in the rounds until that is over.

    An interruption (the caller is cancelled, or a signal arrives) is raised in every flow that has not
    ended, so that each can undo what it has sent, and then to the caller.
    """
    members = [_Member(flow) for flow in flows]
    interruption: BaseException | None = None
    try:
        for one in members:
            one.send(None)
        while running := [one for one in members if not one.has_ended]:
            try:
                yield from _round(running)
            except GeneratorExit:
                raise
            except BaseException as error:
                interruption = error
                for one in running:
                    one.throw(error)
    finally:
        for one in members:
            one.flow.close()
    results = [one.result for one in members]
    interruption = interruption or next(filter(_is_interruption, results), None)
    if interruption is not None:
        raise interruption
    return results


class _Member:
    """One of several flows: the step that it waits for, or its result.

    Attributes:
        due: when a sleep or the waiting for a future ends (`time.monotonic`).
    """

    __slots__ = ("due", "flow", "has_ended", "result", "step")

    def __init__(self, flow: Flow[Any]) -> None:
        self.flow = flow
        self.step: Step | None = None
        self.result: Any = None
        self.has_ended = False
        self.due = 0.0

    def send(self, result: Any) -> None:
        """Continue with the result of the step; None starts the flow."""
        try:
            self.step = step = self.flow.send(result)
        except BaseException as error:
            self._end(error)
        else:
            if isinstance(step, _WAITS):
                self._start_waiting(step)

    def throw(self, error: BaseException) -> None:
        """Continue with an exception at the step, unless the flow has ended."""
        if self.has_ended:
            return
        try:
            self.step = step = self.flow.throw(error)
        except BaseException as raised:
            self._end(raised)
        else:
            if isinstance(step, _WAITS):
                self._start_waiting(step)

    def _end(self, error: BaseException) -> None:
        self.has_ended = True
        self.result = error.value if isinstance(error, StopIteration) else error

    def _start_waiting(self, step: Sleep | WaitFor) -> None:
        seconds = step.seconds if isinstance(step, Sleep) else step.timeout
        self.due = time.monotonic() + seconds


def _round(running: Sequence[_Member]) -> Flow[None]:
    """Take every flow one step further, but for those that go on sleeping or waiting."""
    batches: list[Batch] = []
    sending: list[_Member] = []
    calling: list[_Member] = []
    waiting: list[_Member] = []
    for one in running:
        step = one.step
        if isinstance(step, Batch):
            batches.append(step)
            sending.append(one)
        elif isinstance(step, Pipeline):
            batches.extend(step.batches)
            sending.append(one)
        elif isinstance(step, _WAITS):
            waiting.append(one)
        else:
            calling.append(one)
    if sending:
        outcomes = iter((yield Pipeline(batches)))
        for one in sending:
            _deliver(one, outcomes)
    for one in calling:
        assert one.step is not None
        try:
            result = yield one.step
        except Exception as error:
            one.throw(error)
        else:
            one.send(result)
    if waiting and not sending and not calling:
        yield _longest_wait(waiting)
    for one in waiting:
        _wake_if_due(one)


_WAITS = (Sleep, WaitFor)


def _deliver(one: _Member, outcomes: Iterator[Any]) -> None:
    """Give a flow the outcomes of its own batches, which are the next ones."""
    if isinstance(one.step, Pipeline):
        one.send([next(outcomes) for _ in one.step.batches])
        return
    outcome = next(outcomes)
    if isinstance(outcome, Exception):
        one.throw(outcome)
    else:
        one.send(outcome)


def _longest_wait(waiting: Sequence[_Member]) -> Step:
    """Return the step for when all flows wait: until the first one is due, or has its future."""
    left = max(0.0, min(one.due for one in waiting) - time.monotonic())
    futures = [one.step.future for one in waiting if isinstance(one.step, WaitFor)]
    if not futures:
        return Sleep(left)
    return WaitFor(futures[0], left if len(futures) == 1 else min(left, _POLL_INTERVAL))


def _wake_if_due(one: _Member) -> None:
    is_due = time.monotonic() >= one.due
    if isinstance(one.step, WaitFor):
        is_done = one.step.future.done()
        if is_done or is_due:
            one.send(is_done)
    elif is_due:
        one.send(None)


def _is_interruption(result: Any) -> bool:
    return isinstance(result, BaseException) and not isinstance(result, Exception)
