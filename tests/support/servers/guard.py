"""Become another program that dies with the test process. Run as a script, never imported.

    python -I -S guard.py PARENT_PID SIGNAL UID:GID|- PROGRAM [ARGUMENT ...]

A script rather than `preexec_fn`: Python code between fork and exec is unsafe once the test
process has threads (and Python 3.12 warns about it). The pid stays the same through exec.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def drop_privileges(user: str) -> None:
    """Switch to `user` ("uid:gid") for good; "-" stays as it is."""
    if user == "-":
        return
    uid, gid = (int(part) for part in user.split(":"))
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)


def die_with_parent(parent: int, signal_number: int) -> None:
    """Have the kernel send `signal_number` when the parent ends (Linux only)."""
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal_number, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    # The parent may have ended before prctl: then no signal would ever come.
    if os.getppid() != parent:
        sys.exit("the test process has ended")


def main(arguments: list[str]) -> None:
    """Do as the command line says; returns only by raising."""
    parent, signal_number, user, *command = arguments
    # What `nohup` or a shell's `&` ignores would be ignored here, too: a test's Ctrl-C would do nothing.
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    # In this order: the kernel forgets the death signal when the user changes.
    drop_privileges(user)
    die_with_parent(int(parent), int(signal_number))
    os.execv(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
