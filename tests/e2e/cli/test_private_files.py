"""Files of the programs are private to their owner, whatever the umask."""

from __future__ import annotations

import os
import signal
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support.origins.origin import Origin
from tests.support.services.seen import Seen
from tests.support.wait import wait_until

#: The one that keeps nothing from others, and the one that keeps everything.
UMASKS = [0o000, 0o077]


@contextmanager
def umask(mask: int) -> Iterator[None]:
    """Let programs that are started meanwhile have this umask."""
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def modes(folder: Path) -> dict[str, str]:
    """Return what others than the owner may do with each file and folder below `folder`."""
    found = {}
    for path in folder.rglob("*"):
        mode = stat.S_IMODE(path.lstat().st_mode)
        if mode & 0o077:
            found[str(path.relative_to(folder))] = oct(mode)
    return found


def is_listening(url: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", urlsplit(url).port or 0)) == 0


@pytest.mark.parametrize("mask", UMASKS, ids=oct)
def test_files_of_a_running_stack_are_private(tmp_path: Path, origin: Origin, mask: int) -> None:
    elsewhere = tmp_path / "database"
    database = f"sqlite:///{elsewhere}/jobs.db"
    with umask(mask), Seen(tmp_path, SEEN_DATABASE_URL=database) as seen:
        # The folder exists and is open to all users: the modes of the files protect them.
        seen.data_dir.mkdir(mode=0o755)
        seen.good("db", "upgrade")
        up = seen.start("up", "--download-dir", str(tmp_path / "files"))
        stack = seen.wait_for_stack("store", "downloads", "maintenance", "beat", "flower")
        wait_until(
            lambda: "Visit me" in (seen.data_dir / "logs/flower.log").read_text(), deadline=60
        )
        seen.good("add", origin.serve("/a.bin", body=b"abc").url)
        wait_until(
            lambda: seen.good("list", "--json").json()[0]["status"] == "completed", deadline=30
        )
        assert (elsewhere / "jobs.db-wal").exists()
        assert modes(seen.data_dir) == {}
        assert modes(elsewhere) == {}
        assert stat.S_IMODE(elsewhere.stat().st_mode) == 0o700
        store = Path(stack["cache_addr"].removeprefix("unix://")).parent
        assert stat.S_IMODE(store.stat().st_mode) == 0o700
        assert modes(store) == {}
        wait_until(lambda: is_listening(stack["flower_url"]), deadline=30, what="Flower listens")
        up.send_signal(signal.SIGINT)
        up.wait(60)
        # Flower writes what it has seen when it ends.
        assert any(path.name.startswith("flower") for path in seen.data_dir.iterdir())
        assert modes(seen.data_dir) == {}
    assert stat.S_IMODE((tmp_path / "files/a.bin").stat().st_mode) == 0o666 & ~mask


@pytest.mark.parametrize("mask", UMASKS, ids=oct)
def test_files_that_a_get_leaves_are_private(tmp_path: Path, origin: Origin, mask: int) -> None:
    with umask(mask), Seen(tmp_path) as seen:
        seen.good("get", origin.serve("/a.bin", body=b"abc").url, "-H", "X-Key: k")
        assert {path.name for path in seen.data_dir.iterdir()} >= {"logs", "secret.key", "seen.db"}
        assert modes(seen.data_dir) == {}
        assert stat.S_IMODE(seen.data_dir.stat().st_mode) == 0o700
        assert stat.S_IMODE((seen.folder / "a.bin").stat().st_mode) == 0o666 & ~mask
