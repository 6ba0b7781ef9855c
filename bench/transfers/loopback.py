"""One large file from a server that is as fast as this machine: what a client itself costs."""

from __future__ import annotations

from bench.transfers.origin import MIB, Origin
from bench.transfers.ours import can_choose_connections, connections
from bench.transfers.peers import CURL, WGET, Peer, aria2, axel, installed
from bench.transfers.race import SMALL, Course, Place, race, say
from bench.transfers.result import Lane, best
from bench.transfers.section import Aim, Section, of_lanes

PEERS = [CURL, WGET, *aria2(1), *aria2(4), axel(4)]

OURS = "ours"

COMMON = (
    "ours hashes (SHA-256), tells its progress to the store and its states to SQL; nobody else does",
    "to ours: how many times as long as ours, by the median of the rounds; above 1, ours is faster",
    "ours runs in a worker that is there already; a peer's seconds have its start in them, some ms",
    "CPU (seconds a GiB) and peak MB are the client's alone; peers' below 10 MB are not told apart",
)
BARE = (
    "without fsync: in our process os.fsync and os.fdatasync do nothing; SQLite still syncs its own"
)
SYNCED = "with fsync: peers are followed by sync -d of their file, within the clock"


def run(place: Place, size: int, rounds: int) -> list[Section]:
    """Race with a file of `size` bytes; return the tables without and with fsync."""
    say(f"loopback: {size // MIB} MiB, {rounds} rounds")
    peers = installed(PEERS)
    with Origin(place.folder / "loopback") as origin:
        course = Course(place, origin.serve("file", size), origin.serve("small", SMALL))
        bare, synced = (_lanes(course, peers, fsync=fsync) for fsync in (False, True))
        race([*bare, *synced], rounds)
    title = f"{size // MIB} MiB from nginx on loopback, median of {rounds}"
    return [
        _section(f"{title}, without fsync", bare, [BARE]),
        _section(f"{title}, with fsync", synced, [SYNCED, *COMMON]),
    ]


def _lanes(course: Course, peers: list[Peer], *, fsync: bool) -> list[Lane]:
    ours = [course.ours(OURS, fsync=fsync)]
    if can_choose_connections():
        ours.append(course.ours(f"{OURS}, 1 conn.", connections(1), fsync=fsync))
    return [*ours, *(course.peer(peer, fsync=fsync) for peer in peers)]


def _section(title: str, lanes: list[Lane], notes: list[str]) -> Section:
    ours = lanes[0]
    shown = best(lanes)
    aims = {CURL.group: Aim(least=1.0)}
    aria2s = [lane for lane in shown if lane.group.startswith("aria2c")]
    if aria2s:
        # It is asked for against aria2c's better setting.
        aims[min(aria2s, key=lambda lane: lane.seconds).group] = Aim(least=1.6)
        notes = [*notes, *(f"the better of its two allocations: {lane.who}" for lane in aria2s)]
    return of_lanes(
        title, shown, ratio=("to ours", lambda lane: lane.times(ours)), aims=aims, notes=notes
    )
