"""Several flows as one: their batches share pipelines; each keeps its replies, errors and retries."""

from __future__ import annotations

import time
from concurrent.futures import Future
from typing import Any, cast

import pytest

from cache import CacheManager
from cache.clock import lease_clock
from cache.coordination.lock import LockHandle
from cache.store import scripts
from cache.store.flow import (
    Batch,
    BlockingCall,
    Call,
    Command,
    Flow,
    Sleep,
    WaitFor,
    gather,
)
from domain.errors import (
    InvalidInputError,
    StoreRefusesError,
    StoreReplyError,
)
from tests.support.build import cache_settings
from tests.support.stores.refusal_texts import TEXTS
from tests.support.stores.server import StoreServer

#: Without the text that refuses a connection: it comes before any command is read.
REPLIES = [text for text in TEXTS if text.row != "MAXCLIENTS"]

#: The reads of the server that `_reads` causes.
_LOOK = 3


def _batch(*commands: Command, **options: bool) -> Flow[list[Any]]:
    replies: list[Any] = yield Batch(*commands, **options)
    return replies


def _failing_script(text: str) -> Flow[None]:
    yield from _batch(("EVAL", "return redis.error_reply(ARGV[1])", 0, text))


def _reads(manager: CacheManager) -> int:
    """Return how many reads of sockets the server has made; the first look also connects."""
    manager.ping()
    manager.client.ping()
    return int(manager.client.info("stats")["total_reads_processed"])


def _list(manager: CacheManager) -> list[bytes]:
    return cast("list[bytes]", manager.client.lrange("seen:x", 0, -1))


# ── one pipeline ────────────────────────────────────────────────────────────────────────────────


def test_the_batches_of_a_round_are_one_transaction_for_who_watches(manager: CacheManager) -> None:
    """No other client's command comes between them: the server reads them as one block."""
    order = []

    def flow(name: str) -> Flow[str]:
        order.append(name)
        yield Batch(("RPUSH", "seen:x", f"{name}1"))
        yield Batch(("RPUSH", "seen:x", f"{name}2"), ("RPUSH", "seen:x", f"{name}3"))
        return name

    assert manager.store.run_together([flow("a"), flow("b"), flow("c")]) == ["a", "b", "c"]
    assert order == ["a", "b", "c"]
    pushed = [str(one, "ascii") for one in _list(manager)]
    assert pushed == ["a1", "b1", "c1", "a2", "a3", "b2", "b3", "c2", "c3"]


def test_one_pipeline_is_one_read_of_the_server(manager: CacheManager) -> None:
    """Given 50 flows of two rounds each."""

    def flow(number: int) -> Flow[Any]:
        yield Batch(("SET", f"seen:{number}", number))
        return (yield Batch(("GET", f"seen:{number}")))

    before = _reads(manager)
    replies = manager.store.run_together([flow(number) for number in range(50)])
    assert replies == [[b"%d" % number] for number in range(50)]
    assert _reads(manager) - before == 2 + _LOOK


def test_no_flows_and_flows_without_commands(manager: CacheManager) -> None:
    def silent() -> Flow[str]:
        return "silent"
        yield

    assert manager.store.run_together([]) == []
    empty: Flow[Any] = _batch()
    assert manager.store.run_together([silent(), empty, _batch(("PING",))]) == [
        "silent", [], [b"PONG"],
    ]  # fmt: skip


def test_flows_of_different_lengths(manager: CacheManager) -> None:
    def flow(rounds: int) -> Flow[int]:
        for _ in range(rounds):
            yield Batch(("INCR", f"seen:{rounds}"))
        return rounds

    assert manager.store.run_together([flow(n) for n in (3, 0, 1, 5)]) == [3, 0, 1, 5]
    assert [manager.client.get(f"seen:{n}") for n in (3, 0, 1, 5)] == [b"3", None, b"1", b"5"]


def test_a_flow_that_gathers_is_one_among_others(manager: CacheManager) -> None:
    """Given ends of two jobs, each of three flows: all in one pipeline, in order."""

    def push(value: str) -> Flow[str]:
        yield Batch(("RPUSH", "seen:x", value))
        return value

    ends = [gather(*(push(f"{job}{part}") for part in "123")) for job in "ab"]
    before = _reads(manager)
    assert manager.store.run_together(ends) == [["a1", "a2", "a3"], ["b1", "b2", "b3"]]
    assert _reads(manager) - before == 1 + _LOOK
    pushed = [str(one, "ascii") for one in _list(manager)]
    assert pushed == ["a1", "a2", "a3", "b1", "b2", "b3"]


def test_gather_ends_all_and_then_raises_the_first_error(manager: CacheManager) -> None:
    def late() -> Flow[None]:
        yield Batch(("PING",))
        yield Batch(("SET", "seen:late", 1))

    flows = [_failing_script("ERR one"), late(), _failing_script("ERR two")]
    with pytest.raises(StoreReplyError, match="ERR one"):
        manager.store.run(gather(*flows))
    assert manager.client.get("seen:late") == b"1"


# ── errors ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("position", [0, 1, 2])
def test_every_refusal_is_that_of_one_flow(store: StoreServer, position: int) -> None:
    """The tests of `refusal_texts` say which error each is; here, whose it is."""
    wrong = []
    with CacheManager.connect(cache_settings(store), retries=0) as manager:
        for text in REPLIES:
            flows: list[Flow[Any]] = [_batch(("GET", "seen:none")), _batch(("PING",))]
            flows.insert(position, _failing_script(text.said))
            results = manager.store.run_together(flows)
            error = results.pop(position)
            expected = StoreRefusesError if text.row else StoreReplyError
            if type(error) is not expected or results != [[None], [b"PONG"]]:
                wrong.append((text, error, results))
    assert wrong == []


@pytest.mark.parametrize("position", [0, 1, 2])
def test_a_key_of_the_wrong_type_is_the_error_of_its_flow(
    manager: CacheManager, position: int
) -> None:
    manager.client.lpush("seen:list", 1)
    flows = [_batch(("SET", "seen:a", 1)), _batch(("GET", "seen:none"), ("GET", "seen:a"))]
    flows.insert(position, _batch(("INCR", "seen:list")))
    results = manager.store.run_together(flows)
    error = results.pop(position)
    assert isinstance(error, StoreReplyError)
    assert "INCR seen:list" in str(error)
    assert results == [[b"OK"], [None, b"1"]]


def test_errors_as_replies_stay_replies(manager: CacheManager) -> None:
    manager.client.lpush("seen:list", 1)
    (replies,) = manager.store.run_together(
        [_batch(("INCR", "seen:list"), ("PING",), errors_as_replies=True)]
    )
    assert isinstance(replies[0], Exception)
    assert replies[1] == b"PONG"


def test_a_transaction_is_one_also_between_others(manager: CacheManager) -> None:
    manager.client.lpush("seen:list", 1)
    results = manager.store.run_together(
        [
            _batch(("SET", "seen:a", 1)),
            _batch(("SET", "seen:b", 2), ("GET", "seen:b"), atomic=True),
            _batch(("SET", "seen:c", 3), ("NOSUCHCOMMAND",), atomic=True),
            _batch(("INCR", "seen:a")),
        ]
    )
    assert results[0] == [b"OK"]
    assert results[1] == [b"OK", b"2"]
    assert isinstance(results[2], StoreRefusesError)
    assert results[3] == [2]
    assert manager.client.get("seen:c") is None


def test_a_store_without_the_scripts_is_sent_them_by_each_flow(manager: CacheManager) -> None:
    """Given a store that has restarted, flows that run a script alone, and flows that run pipelines."""
    manager.client.script_flush()
    held = LockHandle(manager.store, "seen:lock:x", ttl=30)
    manager.client.set(held.key, held.token)
    adding = [scripts.call("rate_add", "seen:rate", 7, 6)]
    results = manager.store.run_together(
        [
            LockHandle.extend.flow(held),
            scripts.run_pipeline(["rate_add"], adding, once=True),
            LockHandle.release.flow(held),
            _batch(("PING",)),
        ]
    )
    assert results[0] is True
    assert results[2] is True
    assert results[3] == [b"PONG"]
    assert sum(map(int, manager.client.hvals("seen:rate"))) == 7


def test_an_argument_that_cannot_be_sent_is_the_error_of_its_flow(manager: CacheManager) -> None:
    wrong = cast("Command", ("SET", "seen:a", object()))
    results = manager.store.run_together([_batch(("PING",)), _batch(wrong), _batch(("PING",))])
    assert isinstance(results[1], InvalidInputError)
    assert [results[0], results[2]] == [[b"PONG"], [b"PONG"]]


def test_an_error_of_a_flows_own_code_is_its_own(manager: CacheManager) -> None:
    def wrong() -> Flow[None]:
        yield Batch(("PING",))
        raise ValueError("mine")

    results = manager.store.run_together([wrong(), _batch(("PING",))])
    assert isinstance(results[0], ValueError)
    assert results[1] == [b"PONG"]


# ── other steps ─────────────────────────────────────────────────────────────────────────────────


def test_a_flow_that_sleeps_does_not_hold_up_the_others(manager: CacheManager) -> None:
    ended: list[str] = []

    def sleeping(seconds: float) -> Flow[None]:
        yield Sleep(seconds)
        yield Batch(("PING",))
        ended.append(f"slept {seconds}")

    def working() -> Flow[None]:
        for _ in range(20):
            yield Batch(("PING",))
        ended.append("worked")

    started = time.monotonic()
    manager.store.run_together([sleeping(0.2), sleeping(0.1), working()])
    assert ended == ["worked", "slept 0.1", "slept 0.2"]
    assert time.monotonic() - started >= 0.2


def test_functions_and_futures(manager: CacheManager) -> None:
    never: Future[None] = Future()
    done: Future[None] = Future()

    def waiting(future: Future[None], timeout: float) -> Flow[Any]:
        return (yield WaitFor(future, timeout))

    def calling(step: type[Call] | type[BlockingCall]) -> Flow[Any]:
        def set_done() -> str:
            if not done.done():
                done.set_result(None)
            return "called"

        yield Batch(("PING",))
        return (yield step(set_done))

    def failing() -> Flow[Any]:
        def fail() -> None:
            raise ValueError("mine")

        return (yield Call(fail))

    results = manager.store.run_together(
        [waiting(never, 0.05), waiting(done, 60), calling(Call), calling(BlockingCall), failing()]
    )
    assert results[:4] == [False, True, "called", "called"]
    assert isinstance(results[4], ValueError)


# ── clocks ──────────────────────────────────────────────────────────────────────────────────────


def test_a_clock_is_read_when_the_pipeline_is_sent(manager: CacheManager) -> None:
    """Given flows that were made long before they are run, as those that wait for a turn."""
    read: list[float] = []

    def flow() -> Flow[None]:
        read.append(lease_clock())
        yield Batch(("PING",))

    waiting = [flow() for _ in range(3)]
    time.sleep(0.05)
    started = lease_clock()
    manager.store.run_together(waiting)
    assert all(one >= started for one in read)
    assert len(read) == 3
