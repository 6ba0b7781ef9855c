"""The store that needs no installation: a bundled or installed Valkey or Redis, on a private socket."""

from __future__ import annotations

import shutil
import socket
import tempfile
from pathlib import Path

from cli.errors import StackError
from cli.local_stack import store_program
from worker.celery_ext import descriptors

_PREFIX = "seen-stack-"
#: A unix socket's path has room for 107 bytes.
_LONGEST_PARENT = 80
#: The server keeps 32 file descriptors for itself and takes a connection with each further one; those of
#: a local stack are up to 16.
_LEAST_DESCRIPTORS = 48


def check_descriptors() -> None:
    """Raise StackError where the store would refuse the connections of its own stack, for ever."""
    _soft, hard = descriptors.limits()  # the server raises the soft one itself
    if hard < _LEAST_DESCRIPTORS:
        raise StackError(
            f"A process may open {hard} files here; the embedded store needs {_LEAST_DESCRIPTORS} at "
            "least. Raise the hard limit (ulimit -Hn, LimitNOFILE=), or use another store "
            "(SEEN_CACHE_ADDR)."
        )


def new_folder() -> Path:
    """Make the private folder of a socket, where its path stays short."""
    parent = tempfile.gettempdir()
    if len(parent.encode()) > _LONGEST_PARENT:
        parent = "/tmp"  # noqa: S108 - mkdtemp makes a folder of our own in it
    return Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))


def remove_folder(cache_addr: str) -> None:
    """Remove the folder of a store that is gone, if it is one of ours."""
    folder = Path(cache_addr.removeprefix("unix://")).parent
    if folder.name.startswith(_PREFIX):
        shutil.rmtree(folder, ignore_errors=True)


def command(folder: Path) -> list[str]:
    """Return the command line of a store in `folder`: nothing on disk, nothing evicted, no port."""
    options = {
        "port": "0",
        "unixsocket": str(socket_path(folder)),
        "unixsocketperm": "700",
        "save": "",
        "appendonly": "no",
        "maxmemory-policy": "noeviction",
        "dir": str(folder),
        "logfile": "",
    }
    return [
        str(store_program.choose().path),
        *(part for k, v in options.items() for part in (f"--{k}", v)),
    ]


def socket_path(folder: Path) -> Path:
    """Return where a store in `folder` listens."""
    return folder / "store.sock"


def answers(folder: Path) -> bool:
    """Say whether the store in `folder` answers a PING. Asked without redis-py, which loads slowly."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(1.0)
        try:
            client.connect(str(socket_path(folder)))
            client.sendall(b"PING\r\n")
            return client.recv(16).startswith(b"+PONG")
        except OSError:
            return False
