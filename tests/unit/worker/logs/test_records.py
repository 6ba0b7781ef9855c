"""What reaches a log: one visible line a record, whatever text is in it."""

from __future__ import annotations

import io
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from domain.text import escaped
from worker.logs.records import MAX_MESSAGE, MAX_TRACE, TRACE_PREFIX, LogLine

ROOT = Path(__file__).parents[4]

#: Text from outside, and how it is shown.
SHOWN = {
    "plain": ("a.bin", "a.bin"),
    "other scripts": ("Übung 日本 عربي 😀", "Übung 日本 عربي 😀"),
    "a newline": ("a\nb", r"a\nb"),
    "a carriage return": ("a\rb", r"a\rb"),
    "a tab": ("a\tb", r"a\tb"),
    "form feed and vertical tab": ("\x0c\x0b", r"\x0c\x0b"),
    "NUL": ("\x00", r"\x00"),
    "backspace and delete": ("\x08\x7f", r"\x08\x7f"),
    "an escape sequence": ("\x1b[31m", r"\x1b[31m"),
    "a one-byte escape sequence": ("\x9b31m", r"\x9b31m"),
    "next line": ("a\x85b", r"a\x85b"),
    "line and paragraph separators": ("\u2028\u2029", r"\u2028\u2029"),
    "directions are overridden": ("\u202e\u202d\u2066\u2069", r"\u202e\u202d\u2066\u2069"),
    "marks of direction": ("\u200e\u200f\u061c", r"\u200e\u200f\u061c"),
    "no width": ("\u200b\u200d\ufeff", r"\u200b\u200d\ufeff"),
    "a soft hyphen": ("\xad", r"\xad"),
    "tags": ("\U000e0041", r"\U000e0041"),
    "a lone surrogate": ("\ud800\udc1b", r"\ud800\udc1b"),
    "private use": ("\ue000", r"\ue000"),
    "other spaces": ("a\xa0b\u3000c", r"a\xa0b\u3000c"),
}


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What a logger called "tested" writes, each record in front of its level."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    logger = logging.getLogger("tested")
    logger.addHandler(handler)
    before = logging.getLogRecordFactory()
    logging.setLogRecordFactory(LogLine)
    yield stream
    logging.setLogRecordFactory(before)
    logger.removeHandler(handler)


@pytest.mark.parametrize("name", SHOWN)
def test_text_that_is_not_visible_is_logged_as_escapes(log: io.StringIO, name: str) -> None:
    text, shown = SHOWN[name]
    logging.getLogger("tested").warning("from %s", text)
    logging.getLogger("tested").warning(f"from {text}")
    assert log.getvalue().split("\n") == [f"WARNING from {shown}"] * 2 + [""]


def test_long_message_is_cut(log: io.StringIO) -> None:
    logging.getLogger("tested").warning("%s", "x" * 1_000_000)
    line = log.getvalue()
    assert line.startswith("WARNING xxx")
    assert line.endswith(f"({1_000_000 - MAX_MESSAGE:,} more characters)\n")
    assert len(line) < MAX_MESSAGE + 100


def test_line_in_an_exception_cannot_pass_for_a_record(log: io.StringIO) -> None:
    error = ValueError("x\nINFO all is well\x1b[2J\r\u202e")
    logging.getLogger("tested").error("failed", exc_info=error)
    first, *trace, last = log.getvalue().split("\n")
    assert (first, last) == ("ERROR failed", "")
    assert all(line.startswith(TRACE_PREFIX) and line.isprintable() for line in trace)
    assert rf"{TRACE_PREFIX}INFO all is well\x1b[2J\r\u202e" in trace


def test_long_traceback_keeps_its_end(log: io.StringIO) -> None:
    error = ValueError("line\n" * 10_000 + "the end")
    logging.getLogger("tested").error("failed", exc_info=error)
    lines = log.getvalue().splitlines()
    assert len(lines) == MAX_TRACE + 2
    assert lines[-1] == f"{TRACE_PREFIX}the end"


def test_escaping_twice_changes_nothing() -> None:
    for text, shown in SHOWN.values():
        assert escaped(escaped(text)) == shown


@pytest.mark.parametrize(
    "start",
    [
        "from worker.app import app; app.log.setup('INFO')",  # as workers and beat do
        "import flowerconfig; import logging; logging.basicConfig()",
    ],
    ids=["Celery", "Flower"],
)
def test_programs_escape_what_they_log(start: str, tmp_path: Path) -> None:
    code = f"{start}; import logging; logging.getLogger('any').error('from \\x1b[31m')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "SEEN_DATA_DIR": str(tmp_path),
            "SEEN_FLOWER_PASSWORD": "open-sesame",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert r"from \x1b[31m" in done.stderr
    assert "\x1b[31m" not in done.stderr
