"""How long `./seen` takes from Enter to the prompt, and the processor time of all its processes.

Each command runs as a person runs it, beside curl and aria2c. The time of all processes is what the
kernel has counted for the command, for all that it started, and for those that outlived it.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from bench.report import Figure, show
from tests.support.servers.nginx import Nginx
from tests.support.wait import wait_until

SEEN = str(Path(__file__).parents[1] / "seen")
SMALL = 64 * 1024
_PR_SET_CHILD_SUBREAPER = 36


class Taken(NamedTuple):
    """What one run of a command took, in seconds."""

    wall: float
    """From its start to its end."""
    cpu: float
    """Of all processes, user and system."""


@dataclass(frozen=True, slots=True)
class Case:
    """A command that is measured.

    Attributes:
        what: its name in the report.
        command: the program with its arguments.
        environment: of the process.
        prepare: is called before each run.
        aims: for wall and processor time, in seconds.
    """

    what: str
    command: Sequence[str]
    environment: Mapping[str, str]
    prepare: Callable[[], None] = lambda: None
    aims: tuple[str | None, str | None] = (None, None)


def main(arguments: list[str]) -> None:
    """Run it: ``--rounds N`` of each command, of which the quickest counts; ``--json``."""
    parser = argparse.ArgumentParser(prog="python -m bench start")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="seen-bench-") as name, Nginx() as nginx:
        folder = Path(name)
        (nginx.root / "small").write_bytes(os.urandom(SMALL))
        cases = _commands(folder, nginx.url("/small"))
        figures = [figure for case in cases for figure in _measured(case, options.rounds)]
        with _running_stack(folder / "running") as environment:
            case = Case("seen list, a stack runs", [SEEN, "list"], environment)
            figures += _measured(case, options.rounds)
    show(f"start, the best of {options.rounds}", figures, as_json=options.json)


def _commands(folder: Path, url: str) -> Iterator[Case]:
    data, out = folder / "data", folder / "out"
    environment = {**os.environ, "SEEN_DATA_DIR": str(data)}
    get = [SEEN, "get", "--quiet", "--overwrite", "--output", str(out), url]
    subprocess.run([SEEN, "--version"], check=True, capture_output=True)  # creates .venv

    def forget() -> None:
        out.unlink(missing_ok=True)
        shutil.rmtree(data, ignore_errors=True)

    def remove() -> None:
        out.unlink(missing_ok=True)

    yield Case("seen get, first use", get, environment, forget)
    yield Case("seen get, second use", get, environment, remove, ("1.2", "2"))
    yield Case("seen --help", [SEEN, "--help"], environment, aims=("0.2", "0.2"))
    yield Case("seen get --help", [SEEN, "get", "--help"], environment, aims=("0.2", "0.2"))
    completion = [SEEN, "completion", "bash"]
    yield Case("seen completion bash", completion, environment, aims=("0.2", "0.2"))
    for peer in (
        ["curl", "-s", "-o", str(out), url],
        ["aria2c", "-q", "-d", str(folder), "-o", "out", url],
    ):
        if shutil.which(peer[0]):
            yield Case(f"{peer[0]}, the same file", peer, environment, remove)


def _measured(case: Case, rounds: int) -> list[Figure]:
    """Run a command so often; return its shortest time and its least processor time."""
    runs = []
    for _ in range(rounds):
        case.prepare()
        runs.append(_run(case.command, case.environment))
    wall, cpu = min(run.wall for run in runs), min(run.cpu for run in runs)
    return [
        Figure(case.what, wall, "s", case.aims[0]),
        Figure(f"{case.what}: CPU of all processes", cpu, "s", case.aims[1]),
    ]


def _run(command: Sequence[str], environment: Mapping[str, str]) -> Taken:
    """Run a command below a process of its own, which inherits what the command leaves behind."""
    read, written = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(written, json.dumps(_watch(command, environment)).encode())
        finally:
            os._exit(0)
    os.close(written)
    with os.fdopen(read) as answer:
        found = answer.read()
    os.waitpid(child, 0)
    status, wall, cpu = json.loads(found)
    if status != 0:
        raise RuntimeError(f"{command} ended with status {status}")
    return Taken(wall, cpu)


def _watch(command: Sequence[str], environment: Mapping[str, str]) -> tuple[int, float, float]:
    """Return the status of a command, how long it ran, and the processor time of all processes."""
    if ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError("prctl(PR_SET_CHILD_SUBREAPER)")
    started = time.monotonic()
    process = subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    status, wall, cpu = 1, 0.0, 0.0
    while True:
        try:
            pid, code, usage = os.wait4(-1, 0)
        except ChildProcessError:
            return status, wall, cpu
        cpu += usage.ru_utime + usage.ru_stime
        if pid == process.pid:
            status, wall = os.waitstatus_to_exitcode(code), time.monotonic() - started


@contextmanager
def _running_stack(data: Path) -> Iterator[dict[str, str]]:
    """Run `seen up`; yield the environment of its clients."""
    environment = {**os.environ, "SEEN_DATA_DIR": str(data)}
    up = subprocess.Popen(
        [SEEN, "up", "--no-flower"],
        env=environment,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_until((data / "stack.json").exists, deadline=60, what="the stack runs")
        yield environment
    finally:
        up.send_signal(signal.SIGTERM)
        up.wait(60)
