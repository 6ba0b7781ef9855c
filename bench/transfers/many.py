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
from bench.transfers.table import Aim, ResultTable, shown

#: MiB a second for each connection.
RATE = 1


def run(environment: Environment, size: int, count: int) -> list[ResultTable]:
    """Download `count` files of `size` bytes at the same time; this takes that much disk."""
    log(f"many: {count:,} downloads of {size // MIB} MiB at {RATE} MiB/s each")
    with Origin(environment.folder / "many", mebibytes_per_second=RATE, ranges=False) as origin:
        small = origin.serve("small", SMALL)
        file = origin.serve("file", size)
        ideal = origin.ideal(size, 1)
        log("  the null client")
        null_client = fetch_and_discard(file.url, count)
        peer = _aria2(environment, file.url, count)
        with Worker(environment.system, small, threads=count) as worker:
            os.sync()
            batch = worker.download([file] * count)
    title = f"{count:,} downloads at once, {size // MIB} MiB at {RATE} MiB/s each"
    return [_table(title, batch, peer, ideal, null_client)]


def _aria2(environment: Environment, url: str, count: int) -> Run | None:
    """Return what aria2c takes for the same, without fsync; None where it is not installed."""
    peers = installed([aria2_list(count)])
    if not peers:
        return None
    with tempfile.TemporaryDirectory(dir=environment.folder) as folder:
        listed = Path(folder) / "list"
        listed.write_text("".join(f"{url}\n  out={number}\n" for number in range(count)))
        run = environment.stopwatch.run([peers[0].command("", listed)])
    log(f"  aria2c: {run.seconds:.2f} s")
    return run


def _table(
    title: str, batch: Batch, peer: Run | None, ideal: float, null_client: float
) -> ResultTable:
    run = batch.run
    found: list[tuple[str, float, str, Aim | None]] = [
        ("ideal: the limit alone", ideal, "s", None),
        ("the origin at its best: the null client", null_client, "s", None),
        ("the first had ended after", min(batch.ends), "s", None),
        ("the last had ended after", max(batch.ends), "s", None),
        ("the last to the ideal", max(batch.ends) / ideal, "×", Aim(most=1.1)),
        ("the last to the origin's best", max(batch.ends) / null_client, "×", None),
        ("not complete at the first attempt", len(batch.unfinished), "", Aim(most=0)),
        ("peak memory", run.peak / 1e6, "MB", Aim(most=400)),
        ("CPU", run.cpu, "s", None),
        ("CPU a download", run.cpu / len(batch.ends) * 1000, "ms", None),
    ]
    if peer is not None:
        found += [
            ("aria2c: the last had ended after", peer.seconds, "s", None),
            ("aria2c: the last to the ideal", peer.seconds / ideal, "×", None),
            ("aria2c: peak memory", peer.peak / 1e6, "MB", None),
            ("aria2c: CPU", peer.cpu, "s", None),
        ]
    rows = [[what, f"{value:.2f}", unit, shown(aim, value)] for what, value, unit, aim in found]
    figures = [
        {"what": what, "value": value, "unit": unit}
        | (dict(zip(("aim", "met"), aim.check(value), strict=True)) if aim else {})
        for what, value, unit, aim in found
    ]
    notes = [
        "one worker process, a thread for each download; the origin runs on the same machine",
        *(f"{times} times {why}" for why, times in Counter(batch.unfinished).most_common(3)),
        "aria2c neither hashes nor syncs",
    ]
    return ResultTable(title, ["", "value", "unit", "aim"], rows, notes, figures)
