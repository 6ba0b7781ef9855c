"""One file from an origin that limits each connection: the gain from several connections."""

from __future__ import annotations

from bench.transfers.contender import best
from bench.transfers.origin import MIB, Origin
from bench.transfers.ours import can_choose_connections, connections
from bench.transfers.peers import aria2, axel, installed
from bench.transfers.runner import SMALL, Environment, Scenario, log, run_rounds
from bench.transfers.table import Aim, ResultTable, comparison_table

#: MiB a second for each connection.
RATE = 10
MANY = 8
PEERS = [*aria2(MANY), axel(MANY)]


def run(environment: Environment, size: int, rounds: int) -> list[ResultTable]:
    """Compare with a file of `size` bytes, ours with one connection and with eight."""
    log(f"limited: {size // MIB} MiB at {RATE} MiB/s a connection, {rounds} rounds")
    with Origin(environment.folder / "limited", rate=RATE * MIB) as origin:
        scenario = Scenario(environment, origin.serve("file", size), origin.serve("small", SMALL))
        one, many = "ours, 1 conn.", f"ours, {MANY} conn."
        notes = [f"ideal: {origin.ideal(size, 1):.2f} s with 1, "]
        notes[0] += f"{origin.ideal(size, MANY):.2f} s with {MANY} connections"
        if can_choose_connections():
            ours = [scenario.ours(one, connections(1)), scenario.ours(many, connections(MANY))]
        else:
            ours = [scenario.ours("ours")]
            notes.append("this version has no option for the number of connections")
        contenders = [*ours, *map(scenario.peer, installed(PEERS))]
        run_rounds(contenders, rounds)
    single = contenders[0]
    return [
        comparison_table(
            f"{size // MIB} MiB at {RATE} MiB/s a connection, median of {rounds}",
            best(contenders),
            ratio=("to ours", lambda contender: 1 / contender.ratio(single)),
            aims={many: Aim(least=7.5)},
            notes=[*notes, f"to ours: how many times as fast as {single.name}"],
        )
    ]
