"""A forked process of the local stack is like one that was started: its parent leaves nothing in it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.services.seen import is_alive
from tests.support.wait import wait_until

ROOT = Path(__file__).parents[3]
#: A parent with a file, a handler, ignored signals, something in its buffer, and a function of `atexit`.
#: It forks a child that prints CHILD, and prints what became of it.
PARENT = """
import atexit, json, os, signal, socket, sys
from functools import partial
from cli.local_stack.forking import fork

def report():
    print(json.dumps({
        "argv": sys.argv, "orig_argv": sys.orig_argv, "cwd": os.getcwd(),
        "descriptors": sorted(int(n) for n in os.listdir("/dev/fd") if os.path.exists(f"/dev/fd/{n}")),
        "stdin": os.readlink("/dev/fd/0"), "is_leader": os.getsid(0) == os.getpid(),
        "comm": open("/proc/self/comm").read().strip(),
        "title": open("/proc/self/cmdline").read().rstrip("\\0"),
        "term": str(signal.getsignal(signal.SIGTERM)), "hup": str(signal.getsignal(signal.SIGHUP)),
        "int": signal.getsignal(signal.SIGINT) is signal.default_int_handler,
        "quit": str(signal.getsignal(signal.SIGQUIT)), "blocked": list(signal.pthread_sigmask(0, ())),
        "variable": os.environ["SEEN_LOG_LEVEL"],
    }))
    return 7

signal.signal(signal.SIGHUP, lambda *_: None)
signal.signal(signal.SIGINT, lambda *_: None)
os.environ["SEEN_LOG_LEVEL"] = "DEBUG"
atexit.register(print, "the parent's")
held = socket.socket()
with open(sys.argv[1], "ab") as output:
    child = fork(report, [sys.executable, "-m", "some.program", "one"], title="seen: a test",
                 output=output.fileno(), dies_with_parent=True)
assert child.wait(30)
print(child.returncode)
"""


def run(code: str, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        env=environment,
        timeout=60,
        check=False,
        **options,
    )


def ignore_termination() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGQUIT, signal.SIG_IGN)


def test_a_child_is_like_a_program_that_was_started(tmp_path: Path) -> None:
    log = tmp_path / "child.log"
    done = run(PARENT, str(log), preexec_fn=ignore_termination)
    assert (done.stdout, done.returncode) == ("7\nthe parent's\n", 0), done.stderr
    child = json.loads(log.read_text())
    assert child == {
        "argv": ["-m", "one"],
        "orig_argv": [sys.executable, "-m", "some.program", "one"],
        "cwd": str(ROOT),
        "descriptors": [0, 1, 2],
        "stdin": "/dev/null",
        "is_leader": True,
        "comm": "seen:-a-test",
        "title": "seen: a test",
        "term": str(signal.SIG_DFL),  # the supervisor stops it so
        "hup": str(signal.SIG_DFL),
        "int": True,
        "quit": str(signal.SIG_IGN),  # was ignored when the parent started
        "blocked": [],
        "variable": "DEBUG",
    }


ENDS = """
import signal, sys
from cli.local_stack.forking import fork

def end():
    {statement}

with open(sys.argv[1], "ab") as output:
    child = fork(end, ["program"], title="t", output=output.fileno(), dies_with_parent=True)
assert child.wait(30)
print(child.returncode)
"""


@pytest.mark.parametrize(
    ("statement", "status", "printed"),
    [
        ("return 0", 0, ""),
        ("return 3", 3, ""),
        ("sys.exit()", 0, ""),
        ("sys.exit(4)", 4, ""),
        ("sys.exit('seen: why')", 1, "seen: why\n"),
        ("raise ValueError('a fault')", 1, "ValueError: a fault\n"),
        ("signal.raise_signal(signal.SIGINT)", 1, "KeyboardInterrupt\n"),
        ("signal.raise_signal(signal.SIGTERM)", -signal.SIGTERM, ""),
        ("print('last words'); return 0", 0, "last words\n"),
        ("import os; os.execv('/bin/sh', ['sh', '-c', 'exit 5'])", 5, ""),
    ],
)
def test_how_a_child_ends(tmp_path: Path, statement: str, status: int, printed: str) -> None:
    log = tmp_path / "child.log"
    done = run(ENDS.format(statement=statement), str(log))
    assert (done.stdout, done.returncode) == (f"{status}\n", 0), done.stderr
    assert log.read_text().endswith(printed)
    assert bool(log.read_text()) is bool(printed)


DESERTED = """
import os, signal, sys, time
from cli.local_stack.forking import fork

def wait():
    print(os.getpid(), flush=True)
    time.sleep(60)
    return 0

with open(sys.argv[1], "ab") as output:
    fork(wait, ["program"], title="t", output=output.fileno(), dies_with_parent=True)
while not os.path.getsize(sys.argv[1]):
    time.sleep(0.01)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_child_dies_with_its_parent(tmp_path: Path) -> None:
    log = tmp_path / "child.log"
    assert run(DESERTED, str(log)).returncode == -signal.SIGKILL
    pid = int(log.read_text())
    wait_until(lambda: not is_alive(pid), deadline=20)


def test_a_process_with_threads_forks_none(tmp_path: Path) -> None:
    code = (
        "import threading\n"
        "from cli.local_stack.forking import fork\n"
        "threading.Thread(target=threading.Event().wait, daemon=True).start()\n"
        "fork(lambda: 0, ['program'], title='t', output=2, dies_with_parent=True)"
    )
    done = run(code, cwd=tmp_path)
    assert done.returncode == 1
    assert "this process has threads" in done.stderr
