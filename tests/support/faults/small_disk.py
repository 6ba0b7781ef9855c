"""A small file system of a test's own: a tmpfs, where this process may mount one."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_DETACH = 2  # MNT_DETACH: also while something on it is open


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Path]:
    """Mount `size` bytes at `folder` for the block; skip the test without the right to."""
    libc = ctypes.CDLL(None, use_errno=True)
    folder.mkdir(parents=True, exist_ok=True)
    options = f"size={size},mode=0777".encode()
    if libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", 0, options) != 0:
        pytest.skip(f"mounting a tmpfs needs root: {os.strerror(ctypes.get_errno())}")
    try:
        yield folder
    finally:
        libc.umount2(os.fsencode(folder), _DETACH)
