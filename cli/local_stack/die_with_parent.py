"""Become another program that dies with its parent. Run as a script, never imported.

    python -I -S die_with_parent.py PARENT_PID PROGRAM [ARGUMENT ...]

The pid stays the same. Where the kernel cannot promise it (not Linux) the program runs all the same.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Do as the command line says; returns only by raising."""
    parent, *command = arguments
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
        if os.getppid() != int(parent):
            sys.exit("the supervisor ended before its child began")
    os.execv(command[0], command)  # noqa: S606 - without a shell is how it should be


if __name__ == "__main__":
    main(sys.argv[1:])
