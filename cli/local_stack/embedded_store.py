"""The embedded store: a Valkey or Redis that listens on a private Unix socket."""

from __future__ import annotations

import shutil
import socket
import tempfile
from pathlib import Path

from cli.errors import StackError
from cli.local_stack import store_program
from worker.celery_ext import descriptors

_PREFIX = "seen-stack-"
#: The path of a Unix socket may have 107 bytes.
_LONGEST_PARENT = 80
#: The server reserves 32 file descriptors and needs one for each connection; a local stack has up to 16.
_LEAST_DESCRIPTORS = 48


def check_descriptors() -> None:
    """Raise StackError where the store could not accept the connections of its stack."""
    _soft, hard = descriptors.limits()  # the server raises the soft one itself
    if hard < _LEAST_DESCRIPTORS:
        raise StackError(
            f"A process may open {hard} files here; the embedded store needs at least "
            f"{_LEAST_DESCRIPTORS}. Raise the hard limit (ulimit -Hn, LimitNOFILE=), or set "
            "SEEN_CACHE_ADDR to another store."
        )


def new_folder() -> Path:
    """Create the private folder of the socket, with a short path."""
    parent = tempfile.gettempdir()
    if len(parent.encode()) > _LONGEST_PARENT:
        parent = "/tmp"  # noqa: S108 - mkdtemp creates a private folder in it
    return Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))


def remove_folder(cache_addr: str) -> None:
    """Remove the folder of an embedded store that has ended; ignore other addresses."""
    folder = Path(cache_addr.removeprefix("unix://")).parent
    if folder.name.startswith(_PREFIX):
        shutil.rmtree(folder, ignore_errors=True)


def command(folder: Path) -> list[str]:
    """Return the command line of a store in `folder`: no persistence, no eviction, no TCP port."""
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
    """Return the path of the socket of a store in `folder`."""
    return folder / "store.sock"


def answers(folder: Path) -> bool:
    """Return whether the store in `folder` answers PING. redis-py would take long to import."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(1.0)
        try:
            client.connect(str(socket_path(folder)))
            client.sendall(b"PING\r\n")
            return client.recv(16).startswith(b"+PONG")
        except OSError:
            return False
