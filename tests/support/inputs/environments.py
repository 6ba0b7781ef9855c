"""Environments in which something is wrong, and what each command of `seen` may do in them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from settings import Settings
from tests.support.faults.small_disk import small_disk
from tests.support.processes.broken_process import UNKNOWN_USER

#: Calls that need neither settings nor services.
HELP = frozenset({"--help", "list --help", "help cache stats"})
WORKS = frozenset({0, 130})

Prepare = Callable[[Path], AbstractContextManager[object]]


@contextmanager
def _nothing(_data_dir: Path) -> Iterator[None]:
    yield


@dataclass(frozen=True)
class Environment:
    """What is wrong.

    Args:
        variables: to set; None removes one.
        changes: to the process, keys of `broken_process.CHANGES`.
        prepare: changes the data folder for the length of a block.
        statuses: that calls may end with, except help, which always works.
        says: what each error mentions.
        needs_root: only the superuser can become a user without an entry in the user database.
    """

    variables: Mapping[str, str | None] = field(default_factory=dict)
    changes: tuple[str, ...] = ()
    prepare: Prepare = _nothing
    statuses: frozenset[int] = WORKS
    says: str = ""
    needs_root: bool = False


def _replaced(name: str, content: bytes | None) -> Prepare:
    """Replace a file of the data folder; None is a folder."""

    @contextmanager
    def prepare(data_dir: Path) -> Iterator[None]:
        for path in data_dir.glob(f"{name}*"):
            path.unlink()
        if content is None:
            (data_dir / name).mkdir()
        else:
            (data_dir / name).write_bytes(content)
        yield

    return prepare


@contextmanager
def _file(data_dir: Path) -> Iterator[None]:
    shutil.rmtree(data_dir)
    data_dir.write_text("a file")
    yield


@contextmanager
def _owned_by_the_user(data_dir: Path) -> Iterator[None]:
    if os.geteuid() == 0:
        folder = data_dir.parent
        for path in (folder, *folder.rglob("*")):
            os.chown(path, UNKNOWN_USER, UNKNOWN_USER)
    yield


@contextmanager
def _read_only(data_dir: Path) -> Iterator[None]:
    data_dir.chmod(0o555)
    for path in data_dir.rglob("*"):
        path.chmod(0o444)
    yield
    data_dir.chmod(0o700)


@contextmanager
def _read_only_database(data_dir: Path) -> Iterator[None]:
    with _owned_by_the_user(data_dir):
        database = data_dir / "seen.db"
        if os.geteuid() == 0:
            os.chown(database, 0, 0)
        database.chmod(0o444)
        yield


@contextmanager
def _full(data_dir: Path) -> Iterator[None]:
    jobs = data_dir.parent / "jobs"
    shutil.move(data_dir, jobs)
    with small_disk(data_dir, 1_000_000):
        shutil.copytree(jobs, data_dir, dirs_exist_ok=True)
        with (data_dir / "filler").open("wb", buffering=0) as file:
            try:
                while file.write(b"x" * 4096):
                    pass
            except OSError:
                pass
        yield


_ALL_EMPTY = {
    f"SEEN_{name.upper()}": ""
    for name in Settings.model_fields
    if name not in {"data_dir", "cache_addr", "cache_password", "flower_password"}
}
_ILL_FORMED = {
    "SEEN_CACHE_DB": "one",
    "SEEN_CACHE_TIMEOUT": "nan",
    "SEEN_FLOWER_PORT": "9" * 500,
    "SEEN_FLOWER_ADDRESS": "localhost:5555",
    "SEEN_DATABASE_URL": "postgresql://[::1/x",
    "SEEN_PROXY": "http://[::1",
    "SEEN_NETRC": "/",
    "SEEN_LOG_LEVEL": "x" * 50_000,
}
_USAGE = frozenset({2})
_FAILS = frozenset({0, 1, 2, 130})

ENVIRONMENTS: Mapping[str, Environment] = MappingProxyType(
    {
        "odd terminal": Environment(
            {
                "TERM": "no-such",
                "COLUMNS": "0",
                "LINES": "abc",
                "TERMINAL_WIDTH": "wide",
                "NO_COLOR": "maybe",
                "FORCE_COLOR": "maybe",
                "TMPDIR": "/no/such/folder",
                "_SEEN_COMPLETE": "no-such",
                "TTY_COMPATIBLE": "x",
                "PAGER": "/no/such",
            }
        ),
        "no terminal": Environment({"TERM": None, "COLUMNS": "abc", "PATH": None, "LANG": "xx_YY"}),
        "unknown user without a home folder": Environment(
            {"HOME": None, "USER": None, "LOGNAME": None},
            changes=("unknown user",),
            prepare=_owned_by_the_user,
            needs_root=True,
        ),
        "current folder deleted": Environment(
            changes=("current folder deleted",),
            statuses=frozenset({*WORKS, 2}),
            says="current folder",
        ),
        "misspelt settings": Environment(
            {"SEEN_CACHE_ADR": "1", "SEEN_\udcff": "\udcff", "seen_x": ""},
            statuses=frozenset({*WORKS, 1}),
            says="SEEN_CACHE_ADDR",
        ),
        "empty settings": Environment(_ALL_EMPTY),
        "home folder unknown": Environment(
            {"HOME": None, "SEEN_DATA_DIR": None, "XDG_DATA_HOME": None},
            changes=("unknown user",),
            statuses=frozenset({1, 2}),
            says="home folder",
            needs_root=True,
        ),
        "home folder relative": Environment(
            {"HOME": "home", "SEEN_DATA_DIR": "~/data"},
            statuses=frozenset({1, 2}),
            says="HOME='home'",
        ),
        "home folder a file": Environment(
            {"HOME": "/dev/null", "SEEN_DATA_DIR": None, "XDG_DATA_HOME": None}, statuses=_FAILS
        ),
        "ill-formed settings": Environment(
            _ILL_FORMED, statuses=frozenset({1, 2}), says="SEEN_NETRC"
        ),
        "settings that are not UTF-8": Environment(
            {"SEEN_USER_AGENT": "a\udcff", "SEEN_DATA_DIR": "/a\udcff"},
            statuses=frozenset({1, 2}),
            says="UTF-8",
        ),
        "data folder a file": Environment(prepare=_file, statuses=_FAILS),
        "data folder read-only": Environment(
            changes=("unknown user",), prepare=_read_only, statuses=_FAILS
        ),
        "data folder full": Environment(prepare=_full, statuses=_FAILS),
        "download folder a file": Environment({"SEEN_DOWNLOAD_DIR": "/dev/null"}, statuses=_FAILS),
        "database garbage": Environment(
            prepare=_replaced("seen.db", b"garbage " * 1000), statuses=_FAILS
        ),
        "database truncated": Environment(
            prepare=_replaced("seen.db", b"SQLite format 3\0"), statuses=_FAILS
        ),
        "database a folder": Environment(prepare=_replaced("seen.db", None), statuses=_FAILS),
        "database read-only": Environment(
            changes=("unknown user",), prepare=_read_only_database, statuses=_FAILS
        ),
        "key garbage": Environment(prepare=_replaced("secret.key", b"\xff" * 40), statuses=_FAILS),
        "state of the stack garbage": Environment(
            prepare=_replaced("stack.json", b'{"pid": 1}'), statuses=_FAILS
        ),
        "lock a folder": Environment(prepare=_replaced("stack.lock", None), statuses=_FAILS),
        "few descriptors": Environment(changes=("few descriptors",), statuses=_FAILS),
        "PostgreSQL refuses": Environment(
            {"SEEN_DATABASE_URL": "postgresql://seen:x@127.0.0.1:1/seen"}, statuses=_FAILS
        ),
    }
)
