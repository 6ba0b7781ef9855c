"""The order of durable writes: bytes before their record, the file before its name."""

from __future__ import annotations

import errno
import json
import os
import stat
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from domain.job import Job
from tests.support.origins.origin import Origin
from tests.support.services.running import run_download
from tests.support.services.system import System
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until
from worker.outcome import Outcome
from worker.storage import disk_space as space
from worker.storage import part_file

SIZE = 400_000


@dataclass
class Disk:
    """What was asked of the operating system, in the order in which it had answered.

    `entries` are ("synced", size) of what was written to the part file before, ("vouched", size) of a
    checkpoint that gets its name, ("named", path) and ("synced directory", path).
    """

    folder: Path
    entries: list[tuple[str, Any]] = field(default_factory=list)
    written: int = 0
    after_first_sync: Callable[[int], None] | None = None

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "pwritev", self._writing(os.pwritev))
        for name in ("fsync", "fdatasync"):
            monkeypatch.setattr(os, name, self._syncing(getattr(os, name)))
        for name in ("link", "rename", "replace"):
            monkeypatch.setattr(os, name, self._naming(getattr(os, name)))

    def _writing(self, really: Callable[..., int]) -> Callable[..., int]:
        def write(fd: int, chunks: Any, position: int) -> int:
            size = really(fd, chunks, position)
            self.written = position + size
            return size

        return write

    def _syncing(self, really: Callable[[int], None]) -> Callable[[int], None]:
        def sync(fd: int) -> None:
            path, status = Path(f"/proc/self/fd/{fd}").readlink(), os.fstat(fd)
            written = self.written
            really(fd)
            if stat.S_ISDIR(status.st_mode):
                self.entries.append(("synced directory", path))
            elif path.suffix == ".part":
                self.entries.append(("synced", written))
                then, self.after_first_sync = self.after_first_sync, None
                if then is not None:
                    then(written)

        return sync

    def _naming(self, really: Callable[..., None]) -> Callable[..., None]:
        def name(source: Any, target: Any, **options: Any) -> None:
            path = _in_folder(target, options.get("dst_dir_fd"))
            if path.parent == self.folder and path.suffix == ".json":
                draft = _in_folder(source, options.get("src_dir_fd"))
                written = json.loads(draft.read_text())["written"]
                self.entries.append(("vouched", written[-1][1] if written else 0))
            really(source, target, **options)
            if path.parent == self.folder and not path.name.startswith("."):
                self.entries.append(("named", path))

        return name

    def of(self, *kinds: str) -> list[tuple[str, Any]]:
        return [entry for entry in self.entries if entry[0] in kinds]


def _in_folder(name: Any, folder: int | None) -> Path:
    return Path(name) if folder is None else Path(f"/proc/self/fd/{folder}").readlink() / name


@pytest.fixture
def system(tmp_path: Path, store: StoreServer) -> Iterator[System]:
    """One whose downloads write no checkpoint on their way: only publishing makes them durable."""
    with System(tmp_path, store, settings={"SEEN_CHECKPOINT_INTERVAL": "3600"}) as system:
        yield system


@pytest.fixture
def careful(tmp_path: Path, store: StoreServer) -> Iterator[System]:
    """One whose downloads write a checkpoint whenever bytes come."""
    with System(tmp_path, store, settings={"SEEN_CHECKPOINT_INTERVAL": "0.001"}) as system:
        yield system


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk = Disk(tmp_path / "downloads")
    disk.install(monkeypatch)
    return disk


def part_of(system: System, job: Job) -> Path:
    return system.downloads / f".seen-{job.id}.part"


def test_a_checkpoint_vouches_only_for_bytes_that_were_made_durable_before(
    careful: System, origin: Origin, disk: Disk
) -> None:
    """Given a first sync during which more bytes come: those are not in it."""
    gate = threading.Event()
    # The delay is longer than the interval of checkpoints: the first bytes are followed by one.
    file = origin.serve(
        "/a.bin", size=SIZE, delay=0.05, gate=gate, gate_after=100_000, truncate_after=300_000
    )
    job = careful.submit(file.url)

    def let_more_come(before: int) -> None:
        gate.set()
        wait_until(lambda: disk.written > before, what="more bytes")

    disk.after_first_sync = let_more_come

    assert run_download(careful.runtime, job.id) is Outcome.WAITING

    vouched = [size for _, size in disk.of("vouched")]
    assert len(vouched) >= 2
    assert 0 < vouched[0] <= 100_000
    assert vouched[-1] == 300_000
    durable = 0
    for kind, size in disk.of("synced", "vouched"):
        if kind == "synced":
            durable = max(durable, size)
        else:
            assert size <= durable, disk.entries


def publish(system: System, origin: Origin, disk: Disk, *, overwrite: bool = False) -> None:
    job = system.submit(origin.serve("/a.bin", size=SIZE).url, overwrite=overwrite)

    assert run_download(system.runtime, job.id) is Outcome.COMPLETED

    path = system.downloads / "a.bin"
    assert disk.of("named") == [("named", path)]
    named = disk.entries.index(("named", path))
    assert ("synced", SIZE) in disk.entries[:named], disk.entries
    assert ("synced directory", system.downloads) in disk.entries[named:], disk.entries


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_file_is_durable_before_it_gets_its_name_and_the_name_after(
    system: System, origin: Origin, disk: Disk, overwrite: bool
) -> None:
    publish(system, origin, disk, overwrite=overwrite)


def test_so_it_is_on_a_disk_without_hard_links(
    system: System, origin: Origin, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(source: Any, target: Any, **options: Any) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    publish(system, origin, disk)


def test_room_that_was_set_aside_is_not_asked_for_again(
    system: System, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a volume that the part file has filled: the next attempt needs no more of it."""
    file = origin.serve("/a.bin", size=SIZE, truncate_after=100_000, faults=1)
    job = system.submit(file.url)
    assert run_download(system.runtime, job.id) is Outcome.WAITING
    if part_of(system, job).stat().st_blocks * 512 < SIZE:
        pytest.skip("this file system sets no room aside")

    monkeypatch.setattr(space, "_free", lambda _directory: 0)
    wait_until(lambda: system.runtime.jobs.requeue_due(system.runtime.now()), what="the job is due")
    assert run_download(system.runtime, job.id) is Outcome.COMPLETED
    assert system.job(job).sha256 == file.sha256


def test_what_has_been_written_is_not_promised_besides(
    system: System, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a file system that sets no room aside: it has sunk by what a neighbour wrote already."""
    gate = threading.Event()
    first = origin.serve("/a.bin", size=SIZE, gate=gate, gate_after=300_000)
    second = origin.serve("/b.bin", size=SIZE)
    monkeypatch.setattr(part_file, "allocate", lambda _fd, _total: None)
    jobs = [system.submit(file.url) for file in (first, second)]
    running = threading.Thread(target=run_download, args=(system.runtime, jobs[0].id))
    monkeypatch.setattr(space, "_free", lambda _directory: 2 * SIZE)
    running.start()
    wait_until(lambda: part_of(system, jobs[0]).exists(), what="it has started")
    wait_until(lambda: origin.requests_for("/a.bin"), what="it is fetched")
    wait_until(lambda: part_of(system, jobs[0]).stat().st_size == 300_000, what="it waits")

    monkeypatch.setattr(space, "_free", lambda _directory: 2 * SIZE - 300_000)
    assert run_download(system.runtime, jobs[1].id) is Outcome.COMPLETED
    gate.set()
    running.join(30)
    assert system.job(jobs[0]).sha256 == first.sha256
