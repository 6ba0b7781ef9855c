"""Runs programs in rounds of random order, so that disturbances of the machine affect all alike."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bench.transfers.contender import Contender, Run
from bench.transfers.origin import OriginFile
from bench.transfers.ours import NO_FIELDS, Worker
from bench.transfers.peers import SYNC, Peer, Stopwatch
from tests.support.services.system import System

#: A worker's first job, not measured.
SMALL = 64 * 1024
_REMARK = {True: ", with fsync", False: ", without fsync"}


@dataclass(frozen=True, slots=True)
class Environment:
    """What all parts share: a folder on the measured disk, the service, and the stopwatch for peers."""

    folder: Path
    system: System
    stopwatch: Stopwatch


@dataclass(frozen=True, slots=True)
class Scenario:
    """One comparison: the environment, the file to fetch, and the small file of a worker's first job."""

    environment: Environment
    file: OriginFile
    small: OriginFile

    def peer(self, peer: Peer, *, fsync: bool = False) -> Contender:
        """Return another program; with `fsync`, ``sync -d FILE`` runs after it within the clock."""
        work = partial(self._run_peer, peer, fsync)
        return Contender(peer.name, peer.group, work, self.file.size, _REMARK[fsync])

    def ours(
        self, name: str, fields: Mapping[str, Any] = NO_FIELDS, *, fsync: bool = True
    ) -> Contender:
        """Return ours with these fields of the request; for `fsync` see `child.py`."""
        work = partial(self._run_ours, fsync, fields)
        return Contender(name, name, work, self.file.size, _REMARK[fsync])

    def _run_peer(self, peer: Peer, fsync: bool) -> Run:
        target = self.environment.folder / "peer.bin"
        commands = [peer.command(self.file.url, target)]
        if fsync:
            commands.append(SYNC.command(self.file.url, target))
        run = self.environment.stopwatch.run(commands)
        if target.stat().st_size != self.file.size:
            raise RuntimeError(f"{peer.name} did not fetch the whole file")
        target.unlink()
        return run

    def _run_ours(self, fsync: bool, fields: Mapping[str, Any]) -> Run:
        with Worker(self.environment.system, self.small, fsync=fsync) as worker:
            return worker.fetch(self.file, fields)


def run_rounds(contenders: list[Contender], rounds: int) -> None:
    """Run each contender once a round, in a new order each time; report on stderr."""
    for number in range(rounds):
        for contender in random.Random(number).sample(contenders, len(contenders)):
            # Flush dirty pages of the run before, which would slow down this one.
            os.sync()
            run = contender.download()
            contender.runs.append(run)
            name = f"{contender.name}{contender.remark}"
            log(f"  round {number + 1} of {rounds}: {name}: {run.seconds:.2f} s")


def log(text: str) -> None:
    """Print a line on stderr."""
    print(text, file=sys.stderr, flush=True)
