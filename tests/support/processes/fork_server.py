"""Run Python modules in forked processes that have the libraries of the product loaded already.

    python -m tests.support.processes.fork_server DESCRIPTOR

A test that starts many short programs would spend most of its time on imports. Each program is still a
process of its own, with its own arguments, environment, folder, outputs and exit status. Workers and
beat are forked as the local stack forks them. DESCRIPTOR is a socket of
`tests.support.servers.preloaded`, which has the protocol. The server ends with its client.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import io
import json
import math
import os
import pkgutil
import runpy
import signal
import socket
import sys
import threading
import time
import traceback
from contextlib import suppress
from types import ModuleType
from typing import Any

import cli
import tasks.api
from cli.local_stack import preload
from tests.support.processes import broken_process


def _all_in(package: ModuleType) -> list[str]:
    found = pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    return [module.name for module in found if "__" not in module.name]


#: What the programs import, except modules that read settings at import.
MODULES = (
    *("alembic.command", "celery.app.amqp", "celery.result", "concurrent.futures.thread"),
    *("encodings.idna", "kombu.transport.redis", "pycurl", "redis.asyncio"),
    *("rich._emoji_codes", "rich.console", "rich.table"),
    *("sqlalchemy.dialects.postgresql", "sqlalchemy.dialects.sqlite"),
    *("typer._adapters", "typer._click.decorators", "typer.rich_utils"),
    *_all_in(cli),
    *_all_in(tasks.api),
    *("worker.broker.client", "worker.celery_ext.interface.queue_names"),
    *("worker.runner", "worker.runtime"),
    # What modules of the tests need that are run here; not `services`, which change kombu at import.
    *("psycopg", "pytest", "tests.support.databases", "tests.support.faults.refusing_disk"),
    *("tests.support.stores.server", "tests.support.wait"),
    *(*preload.COMMON, *preload.SERVICES),
)
#: More than one request has.
REQUEST_SIZE = 1 << 20


def main() -> None:
    """Serve until the client closes its end; in a forked child, run the requested module."""
    control = socket.socket(fileno=int(sys.argv[1]))
    for module in MODULES:
        importlib.import_module(module)
    assert "seen_modules.celeryconfig" not in sys.modules, (
        "it has read the settings of the wrong process"
    )
    gc.freeze()  # a collection in a child would copy all of this memory
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no zombies
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, REQUEST_SIZE, 3)
        if not message:
            return
        if os.fork() == 0:
            break
        for descriptor in descriptors:
            os.close(descriptor)
    control.close()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    request = json.loads(message)
    if request["module"] is None:
        _start_service(request, *descriptors)
        os._exit(0)
    _become_the_program(request, *descriptors)
    os._exit(_run(request["module"]))


def _run(module: str) -> int:
    """Run the module to its end and return the exit status.

    The interpreter is not finalized: freeing each object of the loaded libraries takes longer than most
    programs.
    """
    status = 0
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as error:
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)  # noqa: T201
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
        status = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    return status


def _start_service(request: dict[str, Any], log: int, status: int) -> None:
    """Fork a worker or beat, which ends with this process; report its pid and exit status."""
    from cli.local_stack import forking
    from worker.celery_ext.main import run

    forking._die_with(os.getppid())
    _take_surroundings(request)
    broken_process.apply(request["changes"])
    process = forking.fork(
        lambda: run(request["arguments"]),
        [sys.executable, "-m", "worker.celery_ext.main", *request["arguments"]],
        title=f"seen: {request['arguments'][0]}",
        output=log,
        dies_with_parent=True,
    )
    os.close(log)
    while process.poll() is None and os.getpgid(process.pid) != process.pid:
        time.sleep(0.001)  # then it can be signalled as a group
    os.write(status, f"{process.pid}\n".encode())
    process.wait(math.inf)
    os.write(status, f"{process.returncode}\n".encode())


def _take_surroundings(request: dict[str, Any]) -> None:
    os.environ.clear()
    os.environ.update(request["environment"])
    os.umask(request["umask"])


def _become_the_program(request: dict[str, Any], out: int, err: int, status: int) -> None:
    """Fork once more: the child takes over the request; the parent reports its pid and exit status."""
    pid = os.fork()
    if pid:
        os.close(out)
        os.close(err)
        os.write(status, f"{pid}\n".encode())
        ended = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        os.write(status, f"{ended}\n".encode())
        os._exit(0)
    os.close(status)
    _redirect(out, 1, "stdout")
    _redirect(err, 2, "stderr")
    _take_surroundings(request)
    os.chdir(request["folder"])
    # An interpreter decodes its arguments by its locale; this one may have another than the client.
    arguments = [os.fsdecode(one.encode(errors="surrogateescape")) for one in request["arguments"]]
    sys.argv = ["-m", *arguments]  # `runpy` puts the module's file first
    sys.orig_argv = [sys.executable, "-m", request["module"], *arguments]
    if not sys.flags.safe_path:
        sys.path[0] = request["folder"]
    broken_process.apply(request["changes"])


def _redirect(descriptor: int, number: int, name: str) -> None:
    """Write what Python writes to `sys.<name>`, and libraries to `number`, to this descriptor."""
    before = getattr(sys, name)
    os.dup2(descriptor, number)
    os.close(descriptor)
    binary = os.fdopen(number, "wb", closefd=False)
    stream = io.TextIOWrapper(
        binary, before.encoding, before.errors, line_buffering=before.line_buffering
    )
    setattr(sys, name, stream)
    setattr(sys, f"__{name}__", stream)


if __name__ == "__main__":
    main()
