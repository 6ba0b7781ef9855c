"""One file from an origin that gives each connection so much and no more: what several of them bring."""

from __future__ import annotations

from bench.transfers.origin import MIB, Origin
from bench.transfers.ours import can_choose_connections, connections
from bench.transfers.peers import aria2, axel, installed
from bench.transfers.race import SMALL, Course, Place, race, say
from bench.transfers.result import best
from bench.transfers.section import Aim, Section, of_lanes

#: MiB a second and connection.
RATE = 10
MANY = 8
PEERS = [*aria2(MANY), axel(MANY)]


def run(place: Place, size: int, rounds: int) -> list[Section]:
    """Race with a file of `size` bytes, ours with one connection and with eight."""
    say(f"limited: {size // MIB} MiB at {RATE} MiB/s a connection, {rounds} rounds")
    with Origin(place.folder / "limited", mebibytes_a_second=RATE) as origin:
        course = Course(place, origin.serve("file", size), origin.serve("small", SMALL))
        one, many = "ours, 1 conn.", f"ours, {MANY} conn."
        notes = [f"ideal: {origin.ideal(size, 1):.2f} s with 1, "]
        notes[0] += f"{origin.ideal(size, MANY):.2f} s with {MANY} connections"
        if can_choose_connections():
            ours = [course.ours(one, connections(1)), course.ours(many, connections(MANY))]
        else:
            ours = [course.ours("ours")]
            notes.append("a job cannot be told its number of connections here")
        lanes = [*ours, *map(course.peer, installed(PEERS))]
        race(lanes, rounds)
    single = lanes[0]
    return [
        of_lanes(
            f"{size // MIB} MiB at {RATE} MiB/s a connection, median of {rounds}",
            best(lanes),
            ratio=("to ours", lambda lane: 1 / lane.times(single)),
            aims={many: Aim(least=7.5)},
            notes=[*notes, f"to ours: how many times as fast as {single.who}"],
        )
    ]
