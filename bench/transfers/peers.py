"""The command lines by which other programs fetch one URL into one file, quietly."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.transfers.contender import Run

_STOPWATCH = Path(__file__).with_name("stopwatch.py")


@dataclass(frozen=True, slots=True)
class Peer:
    """One way to start one program.

    Attributes:
        name: the program with what matters of its options.
        group: of several with the same, the better one counts.
        arguments: with {url}, {target} and the target's {folder} and {name} to be put in.
    """

    name: str
    group: str
    program: str
    arguments: tuple[str, ...]

    def command(self, url: str, target: Path) -> list[str]:
        """Return the whole command. Raises FileNotFoundError when the program is not installed."""
        program = shutil.which(self.program)
        if program is None:
            raise FileNotFoundError(f"{self.program} is not installed")
        places = {"url": url, "target": target, "folder": target.parent, "name": target.name}
        return [program, *(argument.format_map(places) for argument in self.arguments)]


# Without configuration files of the user, and without output.
CURL = Peer("curl", "curl", "curl", ("-q", "-sS", "-f", "-o", "{target}", "{url}"))
WGET = Peer("wget", "wget", "wget", ("--no-config", "-q", "-O", "{target}", "{url}"))

SYNC = Peer("sync -d", "sync", "sync", ("-d", "{target}"))


def axel(connections: int) -> Peer:
    """Return axel with so many connections."""
    name = f"axel -n {connections}"
    return Peer(name, name, "axel", ("-q", "-n", str(connections), "-o", "{target}", "{url}"))


def aria2(connections: int) -> list[Peer]:
    """Return aria2c with so many connections, allocating files as it does by default and not at all.

    Its smallest piece is made 1 MiB, or small files would not get all their connections.
    """
    split = f"-x{connections} -s{connections}"
    common = (
        "--no-conf",
        "-q",
        *split.split(),
        "-k1M",
        "-d",
        "{folder}",
        "-o",
        "{name}",
        "{url}",
    )
    name = f"aria2c {split}"
    return [
        Peer(f"{name} --file-allocation=none", name, "aria2c", ("--file-allocation=none", *common)),
        Peer(f"{name}, allocating", name, "aria2c", common),
    ]


def aria2_list(connections: int) -> Peer:
    """Return aria2c for the list of downloads in {target}: so many at once, one connection each."""
    common = ("--no-conf", "-q", "-x1", "-s1", "-j", str(connections), "--file-allocation=none")
    files = f"--rlimit-nofile={4 * connections + 100}"
    return Peer("aria2c", "aria2c", "aria2c", (*common, files, "-d", "{folder}", "-i", "{target}"))


def installed(peers: list[Peer]) -> list[Peer]:
    """Return the installed ones; report the missing ones on stderr."""
    missing = {peer.program for peer in peers if shutil.which(peer.program) is None}
    for program in sorted(missing):
        print(f"{program} is not installed: no comparison", file=sys.stderr)
    return [peer for peer in peers if peer.program not in missing]


def versions(peers: list[Peer]) -> dict[str, str]:
    """Return the version of each program."""
    found = {}
    for program in dict.fromkeys(peer.program for peer in peers):
        shown = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
        words = shown.stdout.partition("\n")[0].split()
        # "curl 7.88.1 (…", "GNU Wget 1.21.3 …", "aria2 version 1.36.0", "Axel 2.17.11 (linux-gnu)"
        found[program] = next((word for word in words if word[0].isdigit()), "?")
    return found


class Stopwatch:
    """Runs and measures commands in a small process of its own (see `stopwatch.py`)."""

    def __enter__(self) -> Self:
        command = [sys.executable, "-I", "-S", str(_STOPWATCH)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.communicate()

    def child(self) -> int | None:
        """Return the process of the command that runs, if one does."""
        pid = self._process.pid
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return int(found[0]) if found else None

    def run(self, commands: list[list[str]]) -> Run:
        """Run commands one after the other as one. Raises RuntimeError when one of them fails."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(commands), file=self._process.stdin, flush=True)
        answer = json.loads(self._process.stdout.readline())
        if answer.pop("status"):
            raise RuntimeError(f"failed: {commands}")
        return Run(**answer)
