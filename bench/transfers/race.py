"""Everybody in turn, in rounds, so that the machine's moods hit all alike; each with a clean disk."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bench.transfers.origin import OriginFile
from bench.transfers.ours import NO_FIELDS, Worker
from bench.transfers.peers import SYNC, Peer, Stopwatch
from bench.transfers.result import Lane, Run
from tests.support.services.system import System

#: A worker's first job, not measured.
SMALL = 64 * 1024
_REMARK = {True: ", with fsync", False: ", without fsync"}


@dataclass(frozen=True, slots=True)
class Place:
    """Where benchmarks run: a folder on the disk in question, the service, and what measures peers."""

    folder: Path
    system: System
    stopwatch: Stopwatch


@dataclass(frozen=True, slots=True)
class Course:
    """One race: the place, the file for everybody, and the small one of a worker's first job."""

    place: Place
    file: OriginFile
    small: OriginFile

    def peer(self, peer: Peer, *, fsync: bool = False) -> Lane:
        """Return a peer's lane; with `fsync` the time of ``sync -d FILE`` after it counts, too."""
        work = partial(self._run_peer, peer, fsync)
        return Lane(peer.who, peer.group, work, self.file.size, _REMARK[fsync])

    def ours(self, who: str, fields: Mapping[str, Any] = NO_FIELDS, *, fsync: bool = True) -> Lane:
        """Return our lane; `fields` are those of the request. Without `fsync`, see `child.py`."""
        work = partial(self._run_ours, fsync, fields)
        return Lane(who, who, work, self.file.size, _REMARK[fsync])

    def _run_peer(self, peer: Peer, fsync: bool) -> Run:
        target = self.place.folder / "peer.bin"
        commands = [peer.command(self.file.url, target)]
        if fsync:
            commands.append(SYNC.command(self.file.url, target))
        run = self.place.stopwatch.run(commands)
        if target.stat().st_size != self.file.size:
            raise RuntimeError(f"{peer.who} did not fetch the whole file")
        target.unlink()
        return run

    def _run_ours(self, fsync: bool, fields: Mapping[str, Any]) -> Run:
        with Worker(self.place.system, self.small, fsync=fsync) as worker:
            return worker.fetch(self.file, fields)


def race(lanes: list[Lane], rounds: int) -> None:
    """Let each lane run once a round, in another order each time, and tell on stderr how it goes."""
    for number in range(rounds):
        for lane in random.Random(number).sample(lanes, len(lanes)):
            # Nobody is to pay for writing what somebody else has left in memory.
            os.sync()
            run = lane.download()
            lane.runs.append(run)
            say(f"  round {number + 1} of {rounds}: {lane.who}{lane.remark}: {run.seconds:.2f} s")


def say(text: str) -> None:
    """Tell how far we are."""
    print(text, file=sys.stderr, flush=True)
