"""Many slow downloads at once in one worker process: what a download costs that mostly waits."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from pathlib import Path

from bench.transfers.origin import MIB, Origin
from bench.transfers.ours import Batch, Worker
from bench.transfers.peers import aria2_list, installed
from bench.transfers.race import SMALL, Place, say
from bench.transfers.result import Run
from bench.transfers.section import Aim, Section, shown
from bench.transfers.sink import drain

#: MiB a second and connection.
RATE = 1


def run(place: Place, size: int, count: int) -> list[Section]:
    """Download `count` files of `size` bytes at the same time; this takes that much disk."""
    say(f"many: {count:,} downloads of {size // MIB} MiB at {RATE} MiB/s each")
    with Origin(place.folder / "many", mebibytes_a_second=RATE, ranges=False) as origin:
        small = origin.serve("small", SMALL)
        file = origin.serve("file", size)
        ideal = origin.ideal(size, 1)
        say("  a client that throws everything away")
        sink = drain(file.url, count)
        peer = _aria2(place, file.url, count)
        with Worker(place.system, small, threads=count) as worker:
            os.sync()
            batch = worker.download([file] * count)
    title = f"{count:,} downloads at once, {size // MIB} MiB at {RATE} MiB/s each"
    return [_section(title, batch, peer, ideal, sink)]


def _aria2(place: Place, url: str, count: int) -> Run | None:
    """Return what aria2c takes for the same, without fsync; None where it is not installed."""
    peers = installed([aria2_list(count)])
    if not peers:
        return None
    with tempfile.TemporaryDirectory(dir=place.folder) as folder:
        listed = Path(folder) / "list"
        listed.write_text("".join(f"{url}\n  out={number}\n" for number in range(count)))
        run = place.stopwatch.run([peers[0].command("", listed)])
    say(f"  aria2c: {run.seconds:.2f} s")
    return run


def _section(title: str, batch: Batch, peer: Run | None, ideal: float, sink: float) -> Section:
    run = batch.run
    found: list[tuple[str, float, str, Aim | None]] = [
        ("ideal: the limit alone", ideal, "s", None),
        ("the origin at its best: bytes are thrown away", sink, "s", None),
        ("the first had ended after", min(batch.ends), "s", None),
        ("the last had ended after", max(batch.ends), "s", None),
        ("the last to the ideal", max(batch.ends) / ideal, "×", Aim(most=1.1)),
        ("the last to the origin's best", max(batch.ends) / sink, "×", None),
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
        | (dict(zip(("aim", "met"), aim.verdict(value), strict=True)) if aim else {})
        for what, value, unit, aim in found
    ]
    notes = [
        "one worker process, a thread for each download; the origin runs on the same machine",
        *(f"{times} times {why}" for why, times in Counter(batch.unfinished).most_common(3)),
        "aria2c neither hashes nor syncs",
    ]
    return Section(title, ["", "value", "unit", "aim"], rows, notes, figures)
