"""A signal that was ignored when a program started stays ignored; else a signal to stop stops it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.origins.origin import Origin
from tests.support.servers.process import Process
from tests.support.services.seen import Seen, is_alive
from tests.support.wait import wait_until

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1)

#: What each program does at SIGTERM, SIGINT, SIGQUIT, SIGHUP and SIGUSR1: it catches (c) or ignores (i)
#: the signal, or has the kernel's default action (d). First where no signal was ignored when it started,
#: then where all were.
VERDICTS = {
    "seen up": ("ccccd", "iiiii"),
    # The supervisor stops its children by SIGTERM. Celery's workers print their threads at SIGUSR1.
    "its download worker": ("ccccc", "ciiii"),
    "its maintenance worker": ("ccccc", "ciiii"),
    "its beat": ("ccccd", "ciiii"),
    "its Flower": ("ccccd", "ciiii"),
    "seen get": ("ccdcd", "iiiii"),
    "seen watch": ("ccdcd", "iiiii"),
    "a worker by hand": ("ccccc", "iiiii"),
    # What a terminal sends is for its parent, which drains. The pool interrupts tasks by SIGUSR1.
    "a child of its prefork pool": ("ciiic", "iiiic"),
    "a beat by hand": ("ccccd", "iiiii"),
}


class Programs:
    """One process of each program, all of one stack and started with the same signals ignored."""

    def __init__(self, seen: Seen, origin: Origin, ignoring: tuple[int, ...]) -> None:
        url = origin.serve("/endless.bin", size=10**9, bytes_per_second=10**5).url
        self.up = seen.start("up", ignoring=ignoring)
        seen.wait_for_stack()
        (job_id,) = seen.good("add", url, "--owner", "ann").out.split()
        self.watch = seen.start("watch", job_id, "--json", ignoring=ignoring)
        self.get = seen.start("get", url, ignoring=ignoring)
        self.worker = seen.start_module(
            *("worker.celery_ext.main", "worker", "-Q", "maintenance", "-n", "prefork@%h"),
            *("-c", "1", "-P", "prefork"),
            ignoring=ignoring,
        )
        self.beat = seen.start("beat", ignoring=ignoring)
        self.stack = seen.wait_for_stack("downloads", "maintenance", "beat", "flower")
        self._wait_until_ready(seen)
        self.pids = {
            "seen up": self.stack["pid"],
            "its download worker": self.stack["pids"]["downloads"],
            "its maintenance worker": self.stack["pids"]["maintenance"],
            "its beat": self.stack["pids"]["beat"],
            "its Flower": self.stack["pids"]["flower"],
            "seen get": self.get.pid,
            "seen watch": self.watch.pid,
            "a worker by hand": self.worker.pid,
            "a child of its prefork pool": child_of(self.worker),
            "a beat by hand": self.beat.pid,
        }

    def _wait_until_ready(self, seen: Seen) -> None:
        logs = seen.data_dir / "logs"
        started = {
            logs / "downloads.log": " ready.",
            logs / "maintenance.log": " ready.",
            logs / "beat.log": "beat: Starting",
            logs / "flower.log": "Visit me",
        }
        wait_until(
            lambda: all(line in log.read_text() for log, line in started.items()), deadline=60
        )
        printed = (" ready.", "beat: Starting", '"status": "downloading"')
        wait_until(lambda: all(line in seen.printed for line in printed), deadline=60)
        wait_until(
            lambda: len(seen.good("list", "--json", "--status", "downloading").json()) == 2,
            deadline=60,
            what="the jobs of add and get run",
        )


def child_of(process: Process) -> int:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return int(wait_until(lambda: children.read_text().split(), deadline=20)[0])


def can_fork(pid: int) -> bool:
    """Return whether a process has one thread, no socket, and no database open."""
    files = [str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir()]
    is_connected = any(file.startswith("socket:") or ".db" in file for file in files)
    return len(list(Path(f"/proc/{pid}/task").iterdir())) == 1 and not is_connected


def dispositions(pid: int) -> str:
    """Return what a process does at each signal, from the kernel."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    fields = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    ignored, caught = int(fields["SigIgn"], 16), int(fields["SigCgt"], 16)
    bits = [1 << (number - 1) for number in SIGNALS]
    return "".join("i" if ignored & bit else "c" if caught & bit else "d" for bit in bits)


@pytest.fixture
def seen(tmp_path: Path, free_port: int) -> Iterator[Seen]:
    with Seen(tmp_path, SEEN_FLOWER_PORT=str(free_port)) as person:
        yield person


def test_without_ignored_signals_a_closed_terminal_stops_all_programs_cleanly(
    seen: Seen, origin: Origin
) -> None:
    programs = Programs(seen, origin, ())
    found = {name: dispositions(pid) for name, pid in programs.pids.items()}
    assert found == {name: verdict for name, (verdict, _) in VERDICTS.items()}
    wait_until(lambda: can_fork(programs.up.pid), what="the supervisor has no connection")

    for process in (programs.get, programs.watch):
        process.send_signal(signal.SIGHUP)
        assert process.wait(40) == 130
    for process in (programs.worker, programs.beat, programs.up):
        process.send_signal(signal.SIGHUP)
        assert process.wait(40) == 0, seen.printed
    assert seen.printed.rstrip().endswith("stopped")
    wait_until(lambda: not any(map(is_alive, programs.pids.values())))
    # get paused its job; the other one was checkpointed, and continues with the next stack.
    jobs = {job["user_id"]: job["status"] for job in seen.good("list", "--json").json()}
    assert jobs == {None: "paused", "ann": "queued"}


def test_ignored_signals_stay_ignored(seen: Seen, origin: Origin) -> None:
    programs = Programs(seen, origin, SIGNALS)
    found = {name: dispositions(pid) for name, pid in programs.pids.items()}
    assert found == {name: verdict for name, (_, verdict) in VERDICTS.items()}
