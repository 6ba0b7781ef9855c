"""The thread of the event loop: what happens where the system gives none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[4]

WITHOUT_THREADS = """
import queue, resource
from pathlib import Path
from worker.loop.event_loop import EventLoopThread

loop, answers = EventLoopThread(), queue.SimpleQueue()
size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
_, hard = resource.getrlimit(resource.RLIMIT_AS)
resource.setrlimit(resource.RLIMIT_AS, (size + 2**21, hard))  # less than a stack
try:
    loop.call_soon(answers.put, "too soon")
except RuntimeError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
loop.call_soon(answers.put, "called")
print(answers.get(timeout=10))
loop.close()
"""


def test_loop_that_got_no_thread_starts_with_the_next_caller() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_THREADS],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.splitlines() == ["can't start new thread", "called"], done.stderr
