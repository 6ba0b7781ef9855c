"""Updates of several claims, resent, reordered, expired: the store and a tiny model stay equal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from cache import CacheManager, DownloadProgress
from cache.downloads.progress_hash import ProgressUpdate
from cache.models import version
from domain.job import JobStatus
from tests.support.build import cache_manager, progress_update
from tests.support.stores.server import StoreServer

JOB = "job-1"
KEY = f"seen:download:job:{JOB}"


@dataclass
class Row:
    """What the hash must say."""

    fence: int
    sequence: int
    size: int


class ProgressMachine(RuleBasedStateMachine):
    """Claims, of which any may still speak, and a hash that may vanish at any time."""

    manager: CacheManager

    @initialize()
    def begin(self) -> None:
        self.manager.client.flushdb()
        self.row: Row | None = None
        self.fence = 1
        self.sequence = {1: 0}
        self.size = {1: 0}
        self.sent: list[ProgressUpdate] = []

    # ── what can happen ─────────────────────────────────────────────────────────────────────────

    @rule()
    def claim(self) -> None:
        self.fence += 1
        self.sequence[self.fence] = 0
        # A successor goes on from what is on disk.
        self.size[self.fence] = self.size[self.fence - 1] // 2

    @rule(data=st.data(), gained=st.integers(0, 2**54))
    def tell(self, data: st.DataObject, gained: int) -> None:
        fence = data.draw(st.integers(1, self.fence), "fence")
        self.size[fence] += gained
        self._send(self._update(fence, gained, reset=False))

    @rule(data=st.data(), size=st.integers(0, 1000))
    def reset(self, data: st.DataObject, size: int) -> None:
        fence = data.draw(st.integers(1, self.fence), "fence")
        self.size[fence] = size
        self._send(self._update(fence, 0, reset=True))

    @rule(data=st.data(), gained=st.integers(1, 1000))
    def lose(self, data: st.DataObject, gained: int) -> None:
        """An update that never reaches the store: the next one of its claim must make up for it."""
        fence = data.draw(st.integers(1, self.fence), "fence")
        self.size[fence] += gained
        self._update(fence, gained, reset=False)

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def send_again(self, data: st.DataObject) -> None:
        self._send(data.draw(st.sampled_from(self.sent), "update"))

    @precondition(lambda self: len(self.sent) > 1)
    @rule(data=st.data())
    def send_several_in_any_order(self, data: st.DataObject) -> None:
        chosen = data.draw(st.lists(st.sampled_from(self.sent), min_size=2, max_size=5), "updates")
        expected = [self._expect(update) for update in chosen]
        assert [reply.applied for reply in self.manager.download.apply(chosen)] == expected

    @rule(gained=st.integers(0, 1000), data=st.data())
    def increment(self, gained: int, data: st.DataObject) -> None:
        fence = data.draw(st.integers(1, self.fence), "fence")
        answer = self.manager.download.increment_downloaded_bytes(JOB, gained, fence=fence)
        if self.row is None or self.row.fence != fence:
            assert answer is None
        else:
            self.row.sequence += 1
            self.row.size += gained
            assert answer == self.row.size

    @rule(size=st.integers(0, 1000), data=st.data())
    def set_whole(self, size: int, data: st.DataObject) -> None:
        fence = data.draw(st.integers(1, self.fence), "fence")
        progress = DownloadProgress(
            job_id=JOB, status=JobStatus.DOWNLOADING, fence=fence, bytes_downloaded=size
        )
        done = self.manager.download.set_progress(progress)
        held = self.row
        assert done == (held is None or held.fence <= fence)
        if done:
            same = held is not None and held.fence == fence
            self.row = Row(fence, held.sequence + 1 if same and held else 0, size)

    @rule()
    def expire(self) -> None:
        self.manager.client.delete(KEY)
        self.row = None

    @rule()
    def forget_scripts(self) -> None:
        self.manager.client.script_flush()

    # ── the model ───────────────────────────────────────────────────────────────────────────────

    def _update(self, fence: int, gained: int, *, reset: bool) -> ProgressUpdate:
        self.sequence[fence] += 1
        update = progress_update(
            job_id=JOB,
            fence=fence,
            sequence=self.sequence[fence],
            status=JobStatus.DOWNLOADING,
            increment=gained,
            bytes_downloaded=self.size[fence],
            bytes_durable=0,
            bytes_total=None,
            reset=reset,
        )
        self.sent.append(update)
        return update

    def _send(self, update: ProgressUpdate) -> None:
        expected = self._expect(update)
        fenced = self.row is not None and self.row.fence > update.fence
        reply = self.manager.download.apply([update])[0]
        assert (reply.applied, reply.fenced) == (expected, fenced)

    def _expect(self, update: ProgressUpdate) -> bool:
        """Bring the model forward; say whether the store must apply the update."""
        held = self.row
        if held is not None and (held.fence, held.sequence) >= (update.fence, update.sequence):
            return False
        follows = (
            held is not None
            and (held.fence, held.sequence + 1) == (update.fence, update.sequence)
            and not update.reset
        )
        size = held.size + update.increment if follows and held else update.counts.downloaded
        self.row = Row(update.fence, update.sequence, size)
        return True

    @invariant()
    def the_store_says_what_the_model_says(self) -> None:
        found = self.manager.download.get_progress(JOB)
        if self.row is None:
            assert found is None
            return
        assert found is not None
        assert (found.fence, found.sequence) == (self.row.fence, self.row.sequence)
        assert found.bytes_downloaded == self.row.size

    @invariant()
    def a_hash_has_a_life_and_is_marked_unsaved(self) -> None:
        if self.row is not None:
            assert 0 < self.manager.client.pttl(KEY) <= 30_000
            marked = dict(self.manager.download.dirty())
            assert marked[JOB] >= version(self.row.fence, self.row.sequence)


@pytest.fixture
def manager(store: StoreServer) -> Iterator[CacheManager]:
    with cache_manager(store) as manager:
        yield manager


def test_the_store_and_the_model_stay_equal(manager: CacheManager) -> None:
    machine = type("Machine", (ProgressMachine,), {"manager": manager})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=150,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
