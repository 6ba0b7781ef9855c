"""A local stack is backed up while it runs, goes on, and is restored (docs/operations/backup.md)."""

from __future__ import annotations

import signal
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.origins.origin import Origin
from tests.support.servers.process import Process
from tests.support.services.seen import Seen
from tests.support.wait import wait_until

SIZE, A_QUARTER = 400_000, 100_000


class Operator:
    """Runs one local stack and its commands; a job is named after its file."""

    def __init__(self, folder: Path, seen: Seen, origin: Origin) -> None:
        self.seen, self.origin = seen, origin
        self.files, self.copy = folder / "files", folder / "copy.db"
        self.gate = threading.Event()
        self.ids: dict[str, str] = {}

    def start(self) -> Process:
        process = self.seen.start("up", "--no-flower", "--no-api")
        self.seen.wait_for_stack("beat")
        return process

    def add(self, name: str) -> None:
        """Submit a file that stops after its first quarter until the gate is open."""
        file = self.origin.serve(f"/{name}", size=SIZE, gate=self.gate, gate_after=A_QUARTER)
        self.ids[name] = self.seen.good("add", file.url).out.strip()

    def wait_for(self, name: str, status: str) -> None:
        def reached() -> bool:
            with closing(sqlite3.connect(self.seen.data_dir / "seen.db")) as database:
                rows = database.execute("SELECT status FROM jobs WHERE id = ?", (self.ids[name],))
                return bool(rows.fetchone() == (status,))

        wait_until(reached, deadline=60, interval=0.1, what=f"{name} is {status}")

    def names(self) -> list[str]:
        """The finished files."""
        return sorted(one.name for one in self.files.iterdir() if not one.name.startswith(".seen-"))

    def part_file(self, name: str) -> Path:
        return self.files / f".seen-{self.ids[name]}.part"


@pytest.fixture
def operator(tmp_path: Path, origin: Origin) -> Iterator[Operator]:
    settings = {
        "SEEN_DOWNLOAD_DIR": str(tmp_path / "files"),
        "SEEN_DOWNLOAD_CONCURRENCY": "1",
        "SEEN_LOW_SPEED_TIME": "100",
    }
    with Seen(tmp_path, **settings) as seen:
        yield Operator(tmp_path, seen, origin)


@pytest.mark.timeout(240)
def test_a_restored_stack_does_what_the_page_says(operator: Operator) -> None:
    stack = operator.start()
    operator.gate.set()
    operator.add("before")
    operator.wait_for("before", "completed")
    operator.gate.clear()
    operator.add("running")
    operator.wait_for("running", "downloading")
    operator.add("queued")

    backed_up = operator.seen.good("db", "backup", str(operator.copy))
    refused = [
        operator.seen.run("db", *words)
        for words in (("restore", str(operator.copy)), ("downgrade", "0006"))
    ]
    operator.gate.set()
    operator.add("later")
    for name in ("running", "queued", "later"):
        operator.wait_for(name, "completed")
    operator.gate.clear()
    operator.add("part")
    wait_until(operator.part_file("part").exists, deadline=30, what="there is a part file")
    stack.send_signal(signal.SIGTERM)
    assert stack.wait(40) == 0

    assert backed_up.out.startswith("Backed up 3 jobs (")
    for result in refused:
        assert result.status == 2
        assert "A local stack runs here (process " in result.error_line()
    assert operator.names() == ["before", "later", "queued", "running"]
    restore_and_compare(operator)


def restore_and_compare(operator: Operator) -> None:
    restored = operator.seen.good("db", "restore", str(operator.copy), "--json").json()
    assert restored["jobs"] == 3
    assert Path(restored["former"]).exists()
    operator.gate.set()
    operator.start()
    for name in ("running", "queued"):
        operator.wait_for(name, "completed")

    # Those that finished after the copy ran again and have a second file; the one before did not.
    assert operator.names() == ["before", "later", "queued", "queued (1)", "running", "running (1)"]
    assert len(operator.origin.requests_for("/before")) == 1
    # Those submitted after the copy are unknown; their files stay.
    for name in ("later", "part"):
        assert "There is no job" in operator.seen.run("show", operator.ids[name]).error_line()
    assert operator.part_file("part").exists(), "until it is a day old"
    assert len(operator.seen.good("list", "--json").json()) == 3


@pytest.mark.parametrize("command", ["backup", "restore"])
def test_a_database_server_has_its_own_programs(tmp_path: Path, command: str) -> None:
    with Seen(tmp_path, SEEN_DATABASE_URL="postgresql://seen:secret@127.0.0.1:1/seen") as seen:
        refused = seen.run("db", command, "copy")

    assert refused.status == 2
    program = {"backup": "pg_dump", "restore": "pg_restore"}[command]
    assert f"Use {program} (docs/operations/backup.md)" in refused.error_line()
    assert "secret@" not in refused.err
