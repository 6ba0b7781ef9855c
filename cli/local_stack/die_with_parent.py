"""Execute a program that the kernel kills when its parent ends. Run as a script, never imported.

    python -I -S die_with_parent.py PARENT_PID PROGRAM [ARGUMENT ...]

The pid stays the same. Only Linux can do this; elsewhere the program runs without it.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Execute the program of the command line; does not return."""
    parent, *command = arguments
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
        if os.getppid() != int(parent):
            sys.exit("the supervisor ended before its child started")
    # Other signals that are ignored stay ignored; this one is how the supervisor stops its children.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.execv(command[0], command)  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main(sys.argv[1:])
