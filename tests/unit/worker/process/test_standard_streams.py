"""Writing to descriptors that are full, closed, without a reader, or that do not block."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from domain.errors import OutputError
from worker.process.standard_streams import _Log, _Output


@contextmanager
def _opened(path: str, flags: int = os.O_WRONLY) -> Iterator[int]:
    number = os.open(path, flags)
    try:
        yield number
    finally:
        os.close(number)


def test_busy_descriptor_that_does_not_block_is_waited_for() -> None:
    read, written = os.pipe()
    os.set_blocking(written, False)
    text = "x" * 1_000_000
    got: list[bytes] = []

    def reading() -> None:
        with os.fdopen(read, "rb") as file:
            got.append(file.read())

    reader = threading.Thread(target=reading)
    reader.start()
    with io.TextIOWrapper(io.BufferedWriter(_Output(written))) as stream:
        stream.write(text)
    os.close(written)
    reader.join(10)
    assert got == [text.encode()]


def test_full_descriptor_is_an_error_that_names_the_reason() -> None:
    with _opened("/dev/full") as number, pytest.raises(OutputError) as caught:
        _Output(number).write(b"x")
    assert str(caught.value) == "Standard output cannot be written: No space left on device."
    assert not caught.value.is_quiet


def test_descriptor_for_the_other_direction_counts_as_closed() -> None:
    with (
        _opened(os.devnull, os.O_RDONLY) as number,
        pytest.raises(OutputError, match=r"^Standard output is closed\.$"),
    ):
        _Output(number).write(b"x")


def test_pipe_without_a_reader_is_quiet_unless_there_is_something_to_say() -> None:
    read, written = os.pipe()
    os.close(read)
    with pytest.raises(OutputError) as caught:
        _Output(written).write(b"x")
    os.close(written)
    assert caught.value.is_quiet
    assert not OutputError(caught.value.error, "A job was accepted.").is_quiet


@pytest.mark.parametrize("path", ["/dev/full", os.devnull])
def test_log_takes_everything(path: str) -> None:
    with _opened(path, os.O_RDONLY if path == os.devnull else os.O_WRONLY) as number:
        assert _Log(number).write(b"abc") == 3
