"""Many slow downloads at once in one worker process: the cost of a download that mostly waits."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from pathlib import Path

from bench.transfers.contender import Run
from bench.transfers.null_client import fetch_and_discard
from bench.transfers.origin import MIB, Origin
from bench.transfers.ours import Batch, Worker
from bench.transfers.peers import aria2_list, installed
from bench.transfers.runner import SMALL, Environment, log
from bench.transfers.steady import SteadyState
from bench.transfers.table import Aim, ResultTable, shown

#: Without `--size`, a file takes so long at its rate.
SECONDS = 10
#: Bytes a second; nginx sends a quarter of it at once.
LEAST_RATE = 16 * 1024
#: With up to so many bytes a second in all, there is an aim for the CPU: most of a core waits.
_SLOW = 64 * MIB
#: Of a shorter time, the CPU is not shown. Seconds.
_LEAST_STEADY = 1.0

#: What it is, its value and unit, and its aim.
_Figure = tuple[str, float, str, Aim | None]


def run(environment: Environment, size: int, count: int, rate: int) -> list[ResultTable]:
    """Download `count` files of `size` bytes at `rate` bytes a second each, at the same time."""
    what = f"{size // 1024:,} KiB at {rate // 1024:,} KiB/s each"
    log(f"many: {count:,} downloads of {what}")
    with Origin(environment.folder / "many", rate=rate, ranges=False) as origin:
        small = origin.serve("small", SMALL)
        file = origin.serve("file", size)
        ideal = origin.ideal(size, 1)
        log("  the null client")
        null_client = fetch_and_discard(file.url, count)
        peer_steady = SteadyState(origin, count, environment.stopwatch.child)
        peer = _aria2(environment, file.url, count, peer_steady)
        with Worker(environment.system, small, slots=count) as worker:
            os.sync()
            with SteadyState(origin, count, lambda: worker.pid) as steady:
                batch = worker.download([file] * count)
    is_slow = count * rate <= _SLOW
    found = _ours(batch, ideal, null_client) + _steady(steady, Aim(most=25) if is_slow else None)
    if peer is not None:
        found += _peer(peer, ideal) + _steady(peer_steady, None, "aria2c: ")
    return [_table(f"{count:,} downloads at once, {what}", batch, found)]


def _aria2(environment: Environment, url: str, count: int, steady: SteadyState) -> Run | None:
    """Return what aria2c takes for the same, without fsync; None where it is not installed."""
    peers = installed([aria2_list(count)])
    if not peers:
        return None
    with tempfile.TemporaryDirectory(dir=environment.folder) as folder:
        listed = Path(folder) / "list"
        listed.write_text("".join(f"{url}\n  out={number}\n" for number in range(count)))
        with steady:
            run = environment.stopwatch.run([peers[0].command("", listed)])
    log(f"  aria2c: {run.seconds:.2f} s")
    return run


def _ours(batch: Batch, ideal: float, null_client: float) -> list[_Figure]:
    run = batch.run
    return [
        ("ideal: the limit alone", ideal, "s", None),
        ("the origin at its best: the null client", null_client, "s", None),
        ("the first had ended after", min(batch.ends), "s", None),
        ("the last had ended after", max(batch.ends), "s", None),
        ("the last to the ideal", max(batch.ends) / ideal, "×", Aim(most=1.5)),
        ("the last to the origin's best", max(batch.ends) / null_client, "×", None),
        ("not complete at the first attempt", len(batch.unfinished), "", Aim(most=0)),
        ("peak memory", run.peak / 1e6, "MB", Aim(most=250)),
        ("CPU", run.cpu, "s", None),
        ("CPU, of a core", run.cpu / run.seconds * 100, "%", None),
        ("CPU a download", run.cpu / len(batch.ends) * 1000, "ms", None),
    ]


def _steady(steady: SteadyState, aim: Aim | None, whose: str = "") -> list[_Figure]:
    """Return what is known of the time while all ran; nothing if that was too short."""
    if steady.seconds < _LEAST_STEADY:
        return []
    return [
        (f"{whose}all ran at once for", steady.seconds, "s", None),
        (f"{whose}CPU meanwhile, of a core", steady.of_a_core * 100, "%", aim),
    ]


def _peer(run: Run, ideal: float) -> list[_Figure]:
    return [
        ("aria2c: the last had ended after", run.seconds, "s", None),
        ("aria2c: the last to the ideal", run.seconds / ideal, "×", None),
        ("aria2c: peak memory", run.peak / 1e6, "MB", None),
        ("aria2c: CPU", run.cpu, "s", None),
        ("aria2c: CPU, of a core", run.cpu / run.seconds * 100, "%", None),
    ]


def _table(title: str, batch: Batch, found: list[_Figure]) -> ResultTable:
    rows = [[what, f"{value:.2f}", unit, shown(aim, value)] for what, value, unit, aim in found]
    figures = [
        {"what": what, "value": value, "unit": unit}
        | (dict(zip(("aim", "met"), aim.check(value), strict=True)) if aim else {})
        for what, value, unit, aim in found
    ]
    notes = [
        "one worker process; the origin runs on the same machine",
        *(f"{times} times {why}" for why, times in Counter(batch.unfinished).most_common(3)),
        "aria2c neither hashes nor syncs",
    ]
    return ResultTable(title, ["", "value", "unit", "aim"], rows, notes, figures)
