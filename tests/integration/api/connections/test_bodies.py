"""Bodies of requests: their size, how they are sent, how slowly, and how many at once."""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import pytest

from api.middleware.body import BodyLimit
from api.services import HttpLimits
from tests.support.services.http_api import HttpApi, http_api
from tests.support.stores.server import StoreServer

SIZE = 40_000
LIMITS = HttpLimits(body_bytes=SIZE, bodies_bytes=100_000, small_body_bytes=1_000)
HEAD = b"POST /v1/session HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory, _shared_store: StoreServer) -> Iterator[HttpApi]:
    """Limits that a test can reach."""
    with http_api(tmp_path_factory.mktemp("api"), _shared_store, limits=LIMITS) as api:
        yield api


@pytest.fixture(scope="module")
def impatient(
    tmp_path_factory: pytest.TempPathFactory, _shared_store: StoreServer
) -> Iterator[HttpApi]:
    """One that waits a second for a body."""
    limits = replace(LIMITS, body_seconds=1.0)
    with http_api(tmp_path_factory.mktemp("impatient"), _shared_store, limits=limits) as api:
        yield api


def body(size: int) -> bytes:
    """JSON of this size."""
    return b"{" + b" " * (size - 2) + b"}"


def announced(length: int | str, *parts: bytes) -> Sequence[bytes]:
    return [HEAD + f"Content-Length: {length}\r\n\r\n".encode(), *parts]


def chunked(*parts: bytes, size: int | None = None, end: bytes = b"0\r\n\r\n") -> Sequence[bytes]:
    chunks = [b"%x\r\n%s\r\n" % (size or len(part), part) for part in parts]
    return [HEAD + b"Transfer-Encoding: chunked\r\n\r\n", *chunks, end]


class Sent(NamedTuple):
    """What a client sends, and the status of the answer.

    Attributes:
        pause: between the parts, in seconds.
        is_short: less is sent than was announced: the API that waits a second for it is asked.
    """

    parts: Sequence[bytes]
    status: int
    pause: float = 0.0
    is_short: bool = False


#: 422: the route has read the whole body, and misses its fields.
CASES = {
    "none": Sent(announced(0), 422),
    "small": Sent(announced(100, body(100)), 422),
    "as large as may be": Sent(announced(SIZE, body(SIZE)), 422),
    "larger by one": Sent(announced(SIZE + 1, body(SIZE + 1)), 413),
    "larger by half": Sent(announced(SIZE * 3 // 2, body(SIZE * 3 // 2)), 413),
    "announced as endless": Sent(announced("9" * 19, b"{"), 413, is_short=True),
    "announced with more digits than a length has": Sent(announced("9" * 30, b"{"), 400),
    "in parts": Sent(announced(300, *[body(300)[n : n + 100] for n in (0, 100, 200)]), 422),
    "in chunks": Sent(chunked(b"{", b" ", b"}"), 422),
    "in chunks, as large as may be": Sent(chunked(b"{", b" " * (SIZE - 2), b"}"), 422),
    "in chunks, larger by one": Sent(chunked(b"{", b" " * (SIZE - 1), b"}"), 413),
    "in chunks, larger by half": Sent(chunked(*[b" " * (SIZE // 2)] * 3), 413),
    "longer than announced": Sent(announced(10, body(100)), 400),
    "shorter than announced": Sent(announced(200, body(100)), 408),
    "announced and not sent": Sent(announced(SIZE), 408),
    "a chunk longer than announced": Sent(chunked(body(100), size=10), 400),
    "a chunk shorter than announced": Sent(chunked(body(10), size=100), 408),
    "a chunk without size": Sent([HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"x\r\n"], 400),
    "a negative length": Sent(announced(-1, body(100)), 400),
    "a length with a sign": Sent(announced("+100", body(100)), 400),
    "a length that is no number": Sent(announced("many", body(100)), 400),
    "two lengths": Sent(announced("5\r\nContent-Length: 100", body(100)), 400),
    "slow": Sent(announced(100, *[b" "] * 100), 408, pause=0.1),
    "slow chunks": Sent(chunked(*[b" "] * 100), 408, pause=0.1),
}


@pytest.mark.parametrize("what", CASES)
def test_what_follows_from_each_body(api: HttpApi, impatient: HttpApi, what: str) -> None:
    """One connection each; the service goes on afterwards."""
    case = CASES[what]
    api = impatient if case.status == 408 or case.is_short else api
    before = api.written()
    answer = _answer(api, case)
    assert f" {case.status} ".encode() in answer.split(b"\r\n")[0], answer
    assert api.written() == before
    assert api.client("ada").get("/v1/totals").status_code == 200


def _answer(api: HttpApi, case: Sent) -> bytes:
    """Send the parts, and return what comes until the first answer is whole, or the end."""
    with closing(socket.create_connection(("127.0.0.1", api.port), timeout=60)) as connection:
        try:
            for part in case.parts:
                connection.sendall(part)
                time.sleep(case.pause)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it was cut off, after its answer
        return connection.recv(65536)


async def _large_ones_wait(release: asyncio.Event, _scope: Any, receive: Any, send: Any) -> None:
    """An application that has large bodies in hand until they are released."""
    if len((await receive())["body"]) > 1_000:
        await release.wait()
    await send({"type": "http.response.start", "status": 201, "headers": []})


class Caller:
    """One request to the middleware, from an address of its own; its body comes as the test says."""

    _numbers = itertools.count(1)

    def __init__(
        self, served: BodyLimit, length: int | None = None, address: str | None = None
    ) -> None:
        self._parts: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.sent: list[dict[str, Any]] = []
        headers = [(b"content-type", b"application/json")]
        if length is not None:
            headers.append((b"content-length", str(length).encode()))
        client = (address or f"192.0.2.{next(self._numbers) % 250}", 0)
        scope = {
            "type": "http",
            "path": "/x",
            "method": "POST",
            "headers": headers,
            "client": client,
        }
        self.task = asyncio.create_task(served(scope, self._parts.get, self._send))

    async def _send(self, message: Any) -> None:
        self.sent.append(message)

    async def give(self, size: int, *, more: bool = True) -> None:
        """Give a part, and let it be read."""
        self._parts.put_nowait({"type": "http.request", "body": b" " * size, "more_body": more})
        while not self._parts.empty():
            await asyncio.sleep(0)
        await asyncio.sleep(0)

    def leave(self) -> None:
        self._parts.put_nowait({"type": "http.disconnect"})

    @property
    def status(self) -> int | None:
        """Of the answer; None without one."""
        return self.sent[0]["status"] if self.sent else None

    async def ended(self) -> int | None:
        await asyncio.wait_for(self.task, 30)
        return self.status


def test_all_bodies_together_have_a_limit() -> None:
    """Small ones are served meanwhile, announced ones take no room; what has ended gives it back."""

    async def play() -> None:
        release = asyncio.Event()
        app = partial(_large_ones_wait, release)
        limits = HttpLimits(body_bytes=40_000, bodies_bytes=100_000, small_body_bytes=1_000)
        served = BodyLimit(app, limits)
        for _ in range(3):
            release.clear()
            announcing = [Caller(served, 40_000) for _ in range(50)]
            served_now = [Caller(served) for _ in range(2)]
            for one in served_now:
                await one.give(40_000, more=False)
            reading = Caller(served)
            await reading.give(20_000)
            refused = [Caller(served, length) for length in (None, 30_000)]
            for one in refused:
                await one.give(1_001)
                one.leave()
                assert await one.ended() == 503
                assert _problem(one) == "busy"
                assert dict(one.sent[0]["headers"])[b"retry-after"] == b"2"
            small = Caller(served)
            await small.give(1_000, more=False)
            assert await small.ended() == 201
            reading.leave()
            assert await reading.ended() == 400
            another = Caller(served)
            await another.give(20_000, more=False)
            release.set()
            for one in (*served_now, another):
                assert await one.ended() == 201
            for one in announcing:
                one.leave()
                assert await one.ended() == 400

    asyncio.run(play())


@pytest.mark.parametrize(
    ("mine", "other", "status"),
    [
        ("192.0.2.1", "192.0.2.1", 503),
        ("192.0.2.1", "::ffff:192.0.2.1", 503),
        ("2001:db8::1", "2001:db8::2", 503),
        ("192.0.2.1", "192.0.2.2", 201),
        ("2001:db8::1", "2001:db8:0:1::1", 201),
    ],
)
def test_one_network_leaves_half_of_the_room_to_others(mine: str, other: str, status: int) -> None:
    async def play() -> None:
        release = asyncio.Event()
        release.set()
        limits = HttpLimits(body_bytes=40_000, bodies_bytes=100_000, small_body_bytes=1_000)
        served = BodyLimit(partial(_large_ones_wait, release), limits)
        for _ in range(3):
            slow = Caller(served, address=mine)
            await slow.give(40_000)
            large = Caller(served, address=other)
            await large.give(30_000, more=False)
            small = Caller(served, address=mine)
            await small.give(1_000, more=False)
            assert (await large.ended(), await small.ended()) == (status, 201)
            slow.leave()
            assert await slow.ended() == 400
            assert not served._by_network

    asyncio.run(play())


def test_room_is_given_back_whatever_ends_a_request() -> None:
    async def play() -> None:
        async def app(_scope: Any, receive: Any, send: Any) -> None:
            await receive()
            raise ValueError("a bug")

        limits = HttpLimits(body_bytes=80_000, bodies_bytes=160_000, small_body_bytes=0)
        served = BodyLimit(app, limits)
        for _ in range(2):
            failing = Caller(served)
            await failing.give(60_000, more=False)
            with pytest.raises(ValueError, match="a bug"):
                await failing.ended()
            served._limits = replace(limits, body_seconds=0.1)
            slow = Caller(served)
            await slow.give(60_000)
            assert await slow.ended() == 408
            served._limits = limits
            large = Caller(served)
            await large.give(60_000)
            await large.give(30_000)
            await large.give(30_000)  # it is discarded
            large.leave()
            assert await large.ended() == 413
            await _last_part_is_too_large(served)
            cancelled = Caller(served)
            await cancelled.give(60_000)
            cancelled.task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await cancelled.task

    asyncio.run(play())


async def _last_part_is_too_large(served: BodyLimit) -> None:
    """The answer waits for nothing that would still come."""
    ended = Caller(served)
    await ended.give(60_000)
    await ended.give(30_000, more=False)
    for _ in range(100):
        await asyncio.sleep(0)
    assert ended.status == 413


def _problem(caller: Caller) -> str:
    return str(json.loads(caller.sent[1]["body"])["code"])
