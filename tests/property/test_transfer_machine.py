"""Connections that break anywhere, answers that are wrong, pieces of any layout, crashes.

A crash leaves what a power failure may leave: the last checkpoint that was written, and of the part file
the bytes that this one vouches for. Every other byte is garbage or zeros, or the file ends before it.

Some hundred examples; with the environment variable SEEN_TEST_FULL=1 many more.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from domain.errors import StoppedError, TransientError
from tests.support.environment import FULL
from tests.support.origins import misbehaviour as does
from tests.support.origins.behaviour import Fault, FaultKind, Plan, Request
from tests.support.origins.misbehaviour import Respond
from tests.support.origins.origin import Origin, ServedFile
from tests.support.services.transferring import QUICK, Direct
from worker.storage.destination import Checkpoint
from worker.storage.part_file import PartFile
from worker.transfer.interfaces import TransferOptions
from worker.transfer.sources import Source

EXAMPLES = 2000 if FULL else 100
#: An attempt ends with an error at every break that comes without progress; this many are plenty.
MOST_ATTEMPTS = 60


@dataclass(frozen=True)
class Break:
    """How one answer ends: after so many of its bytes, or not at all."""

    kind: FaultKind
    after: int


@dataclass(frozen=True)
class Crash:
    """What the disk shows after one attempt."""

    rest: str
    """Bytes nobody vouches for: "zeros", "garbage", "kept", or "cut"."""
    loses_checkpoint: bool = False


SIZES = st.integers(0, 20) | st.integers(50_000, 400_000) | st.integers(200_000, 400_000)
#: What else an answer can be; the next one is right again.
ANY_ANSWER = {"busy", "nothing", "garbage"}
ODD: dict[str, Respond] = {
    "busy": does.status(503),
    "nothing": does.nothing(),
    "garbage": does.garbage(),
    "all of it": lambda _request, plan: does.whole(plan),
    "nothing there": does.unsatisfiable(None),
    "another range": does.shifted_range(1),
    "another total": does.content_range(
        lambda first, last, total: f"bytes {first}-{last}/{total + 1}"
    ),
    "no range": does.content_range(None),
    "a shorter range": does.shorter_than_its_range(1000),
    "a longer range": does.longer_than_its_range(1000),
    "several parts": does.several_parts(),
}
BREAKS = st.lists(
    st.none()
    | st.sampled_from(sorted(ODD))
    | st.builds(Break, st.sampled_from(["reset", "truncate"]), st.integers(0, 200_000)),
    max_size=12,
)
CRASHES = st.lists(
    st.none()
    | st.builds(
        Crash,
        st.sampled_from(["zeros", "garbage", "kept", "cut"]),
        st.sampled_from([False, False, False, True]),
    ),
    max_size=6,
)
#: Where, in thousandths of the file, what is there already begins and ends.
CUTS = st.lists(st.integers(0, 1000), min_size=4, max_size=16).map(sorted)
LAYOUTS = st.just(list[int]()) | CUTS
OPTIONS = st.builds(
    lambda connections, smallest, every, retries: replace(
        QUICK,
        connections=connections,
        min_segment_size=smallest,
        split_after=0.0,
        checkpoint_interval=every,
        short_retries=retries,
        retry_pause=0.001,
    ),
    st.sampled_from([4, 6, 3, 2, 1]),
    st.sampled_from([1, 777, 4096, 50_000]),
    st.sampled_from([0.0, 0.01, 10.0]),
    st.integers(0, 2),
)


@pytest.fixture(scope="module")
def origin() -> Iterator[Origin]:
    """One for all examples: each serves a path of its own."""
    with Origin() as origin:
        yield origin


@pytest.mark.timeout(3600 if FULL else 180)
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(
    size=SIZES,
    breaks=BREAKS,
    crashes=CRASHES,
    options=OPTIONS,
    layout=LAYOUTS,
    rate=st.sampled_from([None, 500_000, 1_000_000]),
    changes=st.sampled_from([False, False, False, True]),
    framing=st.sampled_from([{}, {}, {"chunked": True}, {"etag": 'W/"1"'}, {"ranges": False}]),
)
def test_the_result_is_right_whatever_breaks(
    origin: Origin,
    size: int,
    breaks: list[Break | str | None],
    crashes: list[Crash | None],
    options: TransferOptions,
    layout: list[int],
    rate: int | None,
    changes: bool,
    framing: dict[str, object],
) -> None:
    path = f"/{len(origin.requests)}-{size}.bin"
    pending = list(breaks)

    def serve(seed: str) -> ServedFile:
        return origin.serve(
            path,
            size=size,
            seed=seed,
            bytes_per_second=rate,
            respond=lambda request, plan: broken(request, plan, pending),
            **framing,  # type: ignore[arg-type]
        )

    file = serve(path)
    served = [file]
    with tempfile.TemporaryDirectory() as folder:
        direct = Direct(Path(folder), options=options)
        if file.etag is not None and not file.etag.startswith("W/"):
            begin(direct, file, layout)
        for attempt in range(MOST_ATTEMPTS):
            if fetch(direct, file.url, crashes[attempt] if attempt < len(crashes) else None):
                break
            if changes and attempt == 0 and framing.get("etag") is None:
                served.append(serve("changed meanwhile"))
        else:
            raise AssertionError(f"not complete after {MOST_ATTEMPTS} attempts: {direct.notes}")
        # The old file or the new one, never a mix; a file that was complete is not fetched again.
        assert direct.data in [one.body_slice(0, size) for one in served]
    event(f"attempts: {attempt + 1}, connections: {origin.max_concurrent(path)}")


def begin(direct: Direct, file: ServedFile, layout: list[int]) -> None:
    """Leave on disk what an earlier attempt may have fetched: every second part, and garbage."""
    cuts = [file.size * cut // 1000 for cut in layout]
    written = [
        (start, end) for start, end in zip(cuts[::2], cuts[1::2], strict=False) if start < end
    ]
    if not written:
        return
    data = bytearray(b"\xa5" * file.size)
    for start, end in written:
        data[start:end] = file.body_slice(start, end)
    with PartFile(direct.folder, direct.job.id) as part:
        part.write_at([bytes(data)], 0)
        part.write_checkpoint(
            Checkpoint(
                written=tuple(written),
                total=file.size,
                validator=file.etag,
                etag=file.etag,
                source=Source(file.url).digest,
            )
        )


def broken(request: Request, plan: Plan, pending: list[Break | str | None]) -> Plan:
    """Give an answer the next break there is."""
    if plan.status not in (200, 206) or not pending:
        return plan
    if plan.status == 200 and pending[0] in ODD.keys() - ANY_ANSWER:
        return plan  # it is kept for a range
    what = pending.pop(0)
    if isinstance(what, str):
        return ODD[what](request, plan)
    if what is not None and what.after < plan.length:
        plan.fault = Fault(what.kind, what.after)
    return plan


def fetch(direct: Direct, url: str, crash: Crash | None) -> bool:
    """Run an attempt; say whether the file is whole. A crash loses also what is whole."""
    try:
        direct.fetch(url)
        whole = True
    except TransientError:
        whole = False
    if crash is None:
        return whole
    fall(direct, crash)
    return False


def fall(direct: Direct, crash: Crash) -> None:
    """Leave on disk what a power failure may leave."""
    if crash.loses_checkpoint or not direct.checkpoint.exists():
        direct.checkpoint.unlink(missing_ok=True)
        kept = []
    else:
        kept = direct.kept
    data = direct.data
    if crash.rest == "kept":
        return
    end = kept[-1][1] if kept else 0
    length = end if crash.rest == "cut" else len(data)
    filler = b"\0" if crash.rest == "zeros" else b"\xa5"
    left = bytearray(filler * length)
    for start, stop in kept:
        left[start:stop] = data[start:stop]
    direct.part.write_bytes(left)


# ── a crash in the middle ───────────────────────────────────────────────────────────────────────


@pytest.mark.timeout(3600 if FULL else 180)
@settings(
    max_examples=EXAMPLES // 5,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(
    size=st.integers(100_000, 600_000),
    moments=st.lists(st.integers(1, 12), min_size=1, max_size=4),
    options=OPTIONS,
    rest=st.sampled_from(["zeros", "garbage", "cut"]),
)
def test_a_power_failure_at_any_write_loses_only_what_was_not_fsynced(
    origin: Origin, size: int, moments: list[int], options: TransferOptions, rest: str
) -> None:
    """The disk is copied at some write of the transfer, and the next attempt works on the copy."""
    path = f"/{len(origin.requests)}-{size}.bin"
    file = origin.serve(path, size=size, bytes_per_second=4_000_000)
    with tempfile.TemporaryDirectory() as folder:
        direct = Direct(Path(folder) / "0", options=options)
        for number, moment in enumerate(moments):
            after = Path(folder) / str(number + 1)
            crashed = replace(
                direct, check_may_write=copying(direct, after, moment), notes=list(direct.notes)
            )
            try:
                crashed.fetch(file.url)
            except StoppedError:
                direct = replace(direct, folder=after)
                fall(direct, Crash(rest))
                event("fell")
        direct.fetch(file.url)
        assert direct.data == file.body_slice(0, size)


def copying(direct: Direct, target: Path, moment: int) -> Callable[[], None]:
    """Return what copies the folder at the call of this number, and stops the transfer."""
    calls = 0
    mutex = threading.Lock()

    def check_may_write() -> None:
        nonlocal calls
        with mutex:
            calls += 1
            if calls == moment and direct.part.exists():
                # The checkpoint first, as a crash may have it: it never speaks of later bytes.
                target.mkdir()
                for one in (direct.checkpoint, direct.part):
                    if one.exists():
                        shutil.copy(one, target)
                raise StoppedError("the power failed")

    return check_may_write
