"""Many transfers on one event loop: none disturbs another, and all together take few threads."""

from __future__ import annotations

import asyncio
import base64
import gc
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from domain.errors import CancelledError, DiskFullError, FencedError, LeaseLostError, SeenError
from tests.support.build import new_job
from tests.support.origins import misbehaviour as does
from tests.support.origins.behaviour import Plan, Request
from tests.support.origins.origin import Origin
from tests.support.services.transferring import QUICK, Direct, transfer_pools
from worker.storage.disk_space import DiskSpace
from worker.storage.part_file import PartFile
from worker.transfer.connection import Connection
from worker.transfer.http.curl_loop import CurlLoop
from worker.transfer.interfaces import TransferSpec, UnlimitedQuota
from worker.transfer.network import running_network

MANY = 200
MIB = 1 << 20

NewDirect = Callable[..., Direct]


@pytest.fixture
def new_direct(tmp_path: Path) -> Iterator[NewDirect]:
    """Makes transfers that share their threads, as those of one process do."""
    with transfer_pools() as pools:
        yield lambda **fields: Direct(tmp_path, job=new_job(), pools=pools, **fields)


async def wait_for(condition: Callable[[], Any], what: str, deadline: float = 20) -> None:
    end = time.monotonic() + deadline
    while not condition():
        assert time.monotonic() < end, f"not in time: {what}"
        await asyncio.sleep(0.01)


def start(direct: Direct, *urls: str, **order: Any) -> asyncio.Task[Any]:
    return asyncio.create_task(direct.run(TransferSpec(urls=urls, **order)))


def downloaded(direct: Direct) -> int:
    return 0 if direct.tracker is None else direct.tracker.counts.downloaded


async def results(tasks: Sequence[Awaitable[Any]]) -> list[str]:
    """Return for each transfer the code of its error; empty without one."""
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    others = [
        one for one in ended if isinstance(one, BaseException) and not isinstance(one, SeenError)
    ]
    assert others == []
    return [one.code if isinstance(one, SeenError) else "" for one in ended]


def test_many_need_no_thread_each_and_hear_a_stop_at_once(
    new_direct: NewDirect, origin: Origin
) -> None:
    gate = threading.Event()
    file = origin.serve("/a.bin", size=20_000, gate=gate, gate_after=1000)
    all_ = [new_direct() for _ in range(MANY)]

    async def run() -> list[str]:
        tasks = [start(one, file.url) for one in all_]
        await wait_for(lambda: all(map(downloaded, all_)), "all have begun")
        names = [one.name for one in threading.enumerate()]
        others = [name for name in names if not name.startswith("origin")]
        pools = [name for name in others if name.startswith(("disk", "checkpoint", "hashing"))]
        assert len(pools) <= 6
        assert len(others) - len(pools) <= 5
        stopped = all_[MANY // 2]
        assert stopped.tracker is not None
        stopped.tracker.stop.set(CancelledError("cancelled"))
        ended, _ = await asyncio.wait([tasks[MANY // 2]], timeout=30)
        assert ended, "its origin is silent until the gate opens"
        gate.set()
        return await results(tasks)

    codes = asyncio.run(run())
    assert codes.pop(MANY // 2) == "cancelled"
    assert set(codes) == {""}


class BlockedPart(PartFile):
    """A part file on a disk that hangs until the gate is opened."""

    gate: threading.Event

    def write_at(self, chunks: Sequence[bytes], position: int) -> int:
        assert self.gate.wait(30)
        return super().write_at(chunks, position)


@pytest.fixture
def blocked() -> Iterator[type[BlockedPart]]:
    class Blocked(BlockedPart):
        gate = threading.Event()

    yield Blocked
    Blocked.gate.set()


def test_a_disk_that_hangs_stops_no_other_transfer_and_takes_little_memory(
    new_direct: NewDirect, origin: Origin, blocked: type[BlockedPart]
) -> None:
    large, small = origin.serve("/a.bin", size=64 * MIB), origin.serve("/b.bin", size=3 * MIB)
    hanging, other = new_direct(part_type=blocked), new_direct()

    async def run() -> list[str]:
        task = start(hanging, large.url, connections=1)
        await wait_for(lambda: running_network().waiting_bytes.size >= 4 * MIB, "it is held back")
        assert await results([start(other, small.url)]) == [""]
        assert downloaded(hanging) == 0
        # 4 MiB, and what libcurl had read by then.
        assert running_network().waiting_bytes.size <= 7 * MIB
        blocked.gate.set()
        return await results([task])

    assert asyncio.run(run()) == [""]
    assert other.data == small.body_slice(0, small.size)


def test_a_slow_connection_is_read_a_few_times_a_second(
    new_direct: NewDirect, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given an origin that sends a small packet every few milliseconds."""
    reads: list[float] = []
    on_ready, on_body = CurlLoop._on_ready, Connection._on_body

    def ready(loop: CurlLoop) -> None:
        reads.append(time.monotonic())
        on_ready(loop)

    def body(connection: Connection, data: bytes) -> int | None:
        if connection.accepted_at == 0:
            reads.clear()  # connecting and the response count as nothing
        return on_body(connection, data)

    monkeypatch.setattr(CurlLoop, "_on_ready", ready)
    monkeypatch.setattr(Connection, "_on_body", body)
    direct = new_direct()
    direct.fetch(origin.serve("/a.bin", size=250_000, bytes_per_second=100_000).url, connections=1)
    began = reads[0]
    later = [one for one in reads if one - began > 0.5]
    assert len(later) <= 10 * (reads[-1] - began - 0.5) + 2


# ── isolation ───────────────────────────────────────────────────────────────────────────────────


SECRETS: dict[str, dict[str, Any]] = {
    "login": {"username": "ada", "password": "secret"},
    "cookies": {"cookies": "session=secret"},
    "header": {"headers": {"Authorization": "Bearer secret", "X-Secret": "secret"}},
}


def sets_cookie(_request: Request, plan: Plan) -> Plan:
    plan.headers["Set-Cookie"] = "set=secret"
    return plan


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
@pytest.mark.parametrize("at_once", [False, True])
def test_what_one_job_sends_is_not_sent_for_another(
    new_direct: NewDirect, origin: Origin, secret: dict[str, Any], at_once: bool
) -> None:
    """They share handles and connections of one origin, which sets a cookie."""
    mine = [origin.serve(f"/mine{n}", size=5000, respond=sets_cookie) for n in range(4)]
    other = [origin.serve(f"/other{n}", size=5000) for n in range(4)]

    async def run() -> None:
        first = [start(new_direct(), file.url, **secret) for file in mine]
        if not at_once:
            assert set(await results(first)) == {""}
        second = [start(new_direct(), file.url) for file in other]
        assert set(await results([*first, *second])) == {""}

    asyncio.run(run())
    given = [str(one.headers) for file in mine for one in origin.requests_for(file.path)]
    basic = base64.b64encode(b"ada:secret").decode()
    assert all("secret" in one or basic in one for one in given)
    for file in other:
        for request in origin.requests_for(file.path):
            sent = {name.lower() for name in request.headers}
            assert not sent & {"authorization", "cookie", "x-secret"}


# ── failures ────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Failure:
    """How one transfer ends, and the code of its error."""

    code: str
    behaviour: dict[str, Any] | None = None
    direct: dict[str, Any] | None = None
    order: dict[str, Any] | None = None


def raising(error: SeenError) -> Callable[[], None]:
    def check() -> None:
        raise error

    return check


class FullPart(PartFile):
    """A part file on a disk that takes nothing."""

    def write_at(self, chunks: Sequence[bytes], position: int) -> int:
        raise DiskFullError("The disk is full.")


class BrokenPart(PartFile):
    """A part file whose writes fail as nothing should."""

    def write_at(self, chunks: Sequence[bytes], position: int) -> int:
        raise LeaseLostError("Another worker writes it.")


FAILURES = {
    "missing": Failure("http_404", {"respond": does.status(404)}),
    "busy": Failure("http_503", {"respond": does.status(503)}),
    "no response": Failure("empty_reply", {"respond": does.nothing()}),
    "no HTTP": Failure("bad_response", {"respond": does.garbage()}),
    "reset": Failure("reset", {"respond": does.resets_every(2000)}),
    "endless header": Failure("headers_too_large", {"respond": does.big_header(300_000)}),
    "silence": Failure(
        "timeout",
        {"respond": does.hangs_from(1000)},
        {"options": replace(QUICK, low_speed_time=0.5)},
    ),
    "forbidden": Failure("forbidden_address", direct={"networks": ()}),
    "too large": Failure("too_large", order={"max_bytes": 10}),
    "full disk": Failure("disk_full", direct={"part_type": FullPart}),
    "no space": Failure("disk_full", direct={"space": DiskSpace(1 << 60)}),
    "lost lease": Failure("lease_lost", direct={"part_type": BrokenPart}),
    "fenced": Failure("fenced", direct={"check_may_write": raising(FencedError("fenced"))}),
}


def test_how_one_transfer_fails_changes_nothing_for_others(
    new_direct: NewDirect, origin: Origin
) -> None:
    good = [origin.serve(f"/good{n}", size=300_000, bytes_per_second=200_000) for n in range(4)]
    bad = {
        name: origin.serve(f"/{n}", size=20_000, **(one.behaviour or {}))
        for n, (name, one) in enumerate(FAILURES.items())
    }
    directs = [new_direct() for _ in good]

    async def run() -> tuple[list[str], dict[str, str]]:
        running = [
            start(direct, file.url, connections=1)
            for direct, file in zip(directs, good, strict=True)
        ]
        failing = [
            start(new_direct(**(one.direct or {})), bad[name].url, **(one.order or {}))
            for name, one in FAILURES.items()
        ]
        codes = dict(zip(FAILURES, await results(failing), strict=True))
        return await results(running), codes

    ended, codes = asyncio.run(run())
    assert codes == {name: one.code for name, one in FAILURES.items()}
    assert ended == [""] * len(good)
    for direct, file in zip(directs, good, strict=True):
        assert direct.data == file.body_slice(0, file.size)
        assert len(origin.requests_for(file.path)) == 1


@pytest.mark.parametrize("rate", [1_200_000, 2_000_000])
def test_a_rate_and_several_connections_go_together(
    new_direct: NewDirect, origin: Origin, rate: int
) -> None:
    """A body that is held back may cross the end of its segment, which was split meanwhile."""
    files = [
        origin.serve(f"/{number}.bin", size=2 * MIB, bytes_per_second=rate // 2)
        for number in range(4)
    ]

    async def run() -> list[str]:
        tasks = []
        for file in files:
            quota = UnlimitedQuota()
            quota.rate = rate
            tasks.append(start(new_direct(quota=quota), file.url, connections=4))
        return await results(tasks)

    assert asyncio.run(run()) == [""] * len(files)


def test_a_complete_file_with_a_wrong_digest_is_fetched_again(
    new_direct: NewDirect, origin: Origin
) -> None:
    file = origin.serve("/a.bin", size=MIB)
    direct = new_direct()

    async def run() -> tuple[str, str]:
        order = TransferSpec(urls=(file.url,))
        async with direct.transfer(order) as transfer:
            await transfer.run()
            await transfer.write_checkpoint()
        damaged = bytearray(direct.data)
        damaged[1000] ^= 255
        direct.part.write_bytes(damaged)
        async with direct.transfer(order) as transfer:
            await transfer.run()
            before = (await transfer.digests(lambda: None))["sha256"]
            await transfer.restart_without_ranges("its digest is wrong")
            await transfer.run()
            return before, (await transfer.digests(lambda: None))["sha256"]

    before, after = asyncio.run(run())
    assert before != file.sha256
    assert after == file.sha256
    assert len(origin.requests_for("/a.bin")) == 2


def test_a_lease_that_is_lost_when_the_origin_ignores_a_range_leaves_no_request(
    new_direct: NewDirect, origin: Origin
) -> None:
    is_lost = threading.Event()

    def lose_lease(_request: Request, plan: Plan) -> Plan:
        is_lost.set()
        return plan

    def check() -> None:
        if is_lost.is_set():
            raise LeaseLostError("lost")

    file = origin.serve(
        "/a.bin",
        size=400_000,
        reset_after=250_000,
        faults=1,
        etag='"tag"',
        ranges=False,
        respond=does.for_ranges(lose_lease),
    )
    direct = new_direct(check_may_write=check, options=replace(QUICK, short_retries=0))

    async def run() -> tuple[list[str], list[str], int]:
        first, second = [await results([start(direct, file.url)]) for _ in range(2)]
        return first, second, len(running_network().curl._on_end)

    assert asyncio.run(run()) == (["reset"], ["lease_lost"], 0)
    assert [one.status for one in origin.requests_for("/a.bin")] == [200, 200]


def test_ended_transfers_leave_nothing_to_the_garbage_collector(
    new_direct: NewDirect, origin: Origin
) -> None:
    """Cycles would hold what a transfer had, and looking for them takes a tenth of the CPU."""
    file = origin.serve("/a.bin", size=100_000)

    async def run() -> int:
        await results([start(new_direct(), file.url)])
        gc.collect()
        gc.disable()
        try:
            await results([start(new_direct(), file.url) for _ in range(20)])
            return gc.collect()
        finally:
            gc.enable()

    assert asyncio.run(run()) < 20
