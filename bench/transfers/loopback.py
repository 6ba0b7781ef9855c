"""One large file from a server as fast as this machine: the cost of the client itself."""

from __future__ import annotations

from bench.transfers.contender import Contender, best
from bench.transfers.origin import MIB, Origin
from bench.transfers.ours import can_choose_connections, connections
from bench.transfers.peers import CURL, WGET, Peer, aria2, axel, installed
from bench.transfers.runner import SMALL, Environment, Scenario, log, run_rounds
from bench.transfers.table import Aim, ResultTable, comparison_table

PEERS = [CURL, WGET, *aria2(1), *aria2(4), axel(4)]

OURS = "ours"

COMMON = (
    "only ours hashes (SHA-256), writes progress to the store and its states to SQL",
    "to ours: how many times as long as ours, by the median of the rounds; above 1, ours is faster",
    "ours runs in a worker that has started before; a peer's seconds include its start, some ms",
    "CPU (seconds a GiB) and peak MB are the client's alone; peers' below 10 MB are not told apart",
)
BARE = (
    "without fsync: in our process os.fsync and os.fdatasync do nothing; SQLite still syncs its own"
)
SYNCED = "with fsync: peers are followed by sync -d of their file, within the clock"


def run(environment: Environment, size: int, rounds: int) -> list[ResultTable]:
    """Compare with a file of `size` bytes; return the tables without and with fsync."""
    log(f"loopback: {size // MIB} MiB, {rounds} rounds")
    peers = installed(PEERS)
    with Origin(environment.folder / "loopback") as origin:
        scenario = Scenario(environment, origin.serve("file", size), origin.serve("small", SMALL))
        bare, synced = (_contenders(scenario, peers, fsync=fsync) for fsync in (False, True))
        run_rounds([*bare, *synced], rounds)
    title = f"{size // MIB} MiB from nginx on loopback, median of {rounds}"
    return [
        _table(f"{title}, without fsync", bare, [BARE]),
        _table(f"{title}, with fsync", synced, [SYNCED, *COMMON]),
    ]


def _contenders(scenario: Scenario, peers: list[Peer], *, fsync: bool) -> list[Contender]:
    ours = [scenario.ours(OURS, fsync=fsync)]
    if can_choose_connections():
        ours.append(scenario.ours(f"{OURS}, 1 conn.", connections(1), fsync=fsync))
    return [*ours, *(scenario.peer(peer, fsync=fsync) for peer in peers)]


def _table(title: str, contenders: list[Contender], notes: list[str]) -> ResultTable:
    ours = contenders[0]
    shown = best(contenders)
    aims = {CURL.group: Aim(least=1.0)}
    aria2s = [contender for contender in shown if contender.group.startswith("aria2c")]
    if aria2s:
        # The aim is for the better of aria2c's settings.
        aims[min(aria2s, key=lambda contender: contender.seconds).group] = Aim(least=1.6)
        notes = [
            *notes,
            *(f"the better of its two allocations: {contender.name}" for contender in aria2s),
        ]
    return comparison_table(
        title,
        shown,
        ratio=("to ours", lambda contender: contender.ratio(ours)),
        aims=aims,
        notes=notes,
    )
