"""Runs commands for a benchmark and measures them; a separate program that imports very little.

A process inherits the peak memory of the one that started it, which would hide that of a small program.
Each input line is a JSON list of commands to run one after another; the output line has the figures.
"""

from __future__ import annotations

import json
import os
import sys
import time


def run(commands: list[list[str]]) -> dict[str, float]:
    """Run the commands up to the first that fails; return seconds, processor seconds, peak bytes."""
    quiet = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    cpu, peak, status = 0.0, 0, 0
    started = time.perf_counter()
    for command in commands:
        child = os.posix_spawn(command[0], command, os.environ, file_actions=quiet)
        _, status, used = os.wait4(child, 0)
        cpu += used.ru_utime + used.ru_stime
        peak = max(peak, used.ru_maxrss * 1024)
        if status:
            break
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "cpu": cpu, "peak": peak, "status": status}


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), flush=True)
