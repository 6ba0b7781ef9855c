"""Locks between processes, and the state of a stack that hangs on one."""

from __future__ import annotations

from pathlib import Path

from seen_local import stack_state
from seen_local.file_lock import FileLock, is_locked
from seen_local.stack_state import StackState


def test_one_exclusive_or_many_shared(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert not is_locked(path)
    assert not path.exists()
    one, two, three = FileLock(path), FileLock(path), FileLock(path)
    assert one.acquire(shared=True)
    assert two.acquire(shared=True)
    assert not is_locked(path)
    assert not three.acquire(timeout=0.05)
    one.release()
    two.release()
    with three:
        assert is_locked(path)
        assert not one.acquire(shared=True)
    assert one.acquire()
    one.release()


def test_a_stack_counts_while_its_supervisor_lives(tmp_path: Path) -> None:
    state = StackState(
        pid=1,
        cache_addr="unix:///tmp/x/store.sock",
        download_dir="/tmp",
        started_at="",
        on_demand=True,
        pids={"store": 2},
    )
    stack_state.write(tmp_path, state)
    assert (tmp_path / "stack.json").stat().st_mode & 0o777 == 0o600
    assert stack_state.running(tmp_path) is None
    with stack_state.stack_lock(tmp_path):
        assert stack_state.running(tmp_path) == state
        (tmp_path / "stack.json").write_text('{"half": ')
        assert stack_state.running(tmp_path) is None
    stack_state.remove(tmp_path)
    stack_state.remove(tmp_path)
    assert stack_state.read_state(tmp_path) is None
