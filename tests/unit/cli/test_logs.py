"""`seen logs` prints the end of each log, and follows one that is rotated meanwhile."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import settings
from cli.local_stack import supervisor
from cli.local_stack.log_reader import LogReader, log_names
from cli.main import run

#: The processes that the supervisor starts.
STARTED = re.findall(r'_start_child\(\s*"(\w+)"', inspect.getsource(supervisor))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("SEEN_DATA_DIR", str(tmp_path))
    settings.load.cache_clear()
    folder = tmp_path / "logs"
    folder.mkdir()
    yield folder
    settings.load.cache_clear()


def _write(folder: Path, name: str, *lines: str, end: str = "\n") -> None:
    with (folder / name).open("a") as file:
        file.write("\n".join(lines) + end)


@pytest.mark.parametrize("name", STARTED)
def test_each_process_of_the_stack_has_a_log_before_it_has_logged(
    folder: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    _write(folder, "other.log", "a line")
    assert run(["logs", name]) == 0
    assert capsys.readouterr() == ("", "")


def test_no_other_process_has_one(folder: Path) -> None:
    assert "downloads" in STARTED
    assert "api" in STARTED
    _write(folder, "other.log", "a line")
    assert run(["logs", "none"]) == 2


def test_the_end_of_every_log_is_printed_with_its_name(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _write(folder, "downloads.log", *(f"line {number}" for number in range(30)))
    _write(folder, "beat.log", "\x1b[31mred\u202e", "half", end="")
    (folder / "notes.txt").write_text("other")
    (folder / "link.log").symlink_to("/etc/hostname")
    assert run(["logs", "-n", "2"]) == 0
    assert capsys.readouterr().out == (
        "beat        | \\x1b[31mred\\u202e\n"
        "downloads   | line 28\ndownloads   | line 29\n"
        "beat        | half\n"
    )
    assert run(["logs", "downloads", "-n", "1"]) == 0
    assert capsys.readouterr().out == "line 29\n"
    assert run(["logs", "beat", "--json"]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["process"] for one in found] == ["beat", "beat"]


def test_lines_are_taken_from_rotated_logs_too(folder: Path) -> None:
    _write(folder, "beat.log.2", "1", "2")
    _write(folder, "beat.log.1", "3", "4")
    _write(folder, "beat.log", "5")
    assert log_names(folder) == ["beat"]
    for count, expected in ((1, "5"), (2, "45"), (4, "2345"), (9, "12345"), (0, "")):
        assert "".join(LogReader(folder, "beat").last_lines(count)) == expected


def test_no_line_is_lost_or_repeated_when_a_log_is_rotated(folder: Path) -> None:
    reader = LogReader(folder, "beat")
    assert reader.new_lines() == []
    _write(folder, "beat.log", "1", "2", "3")
    assert reader.last_lines(2) == ["2", "3"]
    _write(folder, "beat.log", "4", "5a", end="")
    assert reader.new_lines() == ["4"]
    _write(folder, "beat.log", "5b", "6")
    (folder / "beat.log").rename(folder / "beat.log.1")
    _write(folder, "beat.log", "7")
    assert reader.new_lines() == ["5a5b", "6", "7"]
    assert reader.new_lines() == []


@pytest.mark.parametrize("name", ["../beat", "", "beat.log", "nothing", "*", "\udcff"])
def test_an_unknown_name_is_refused(
    folder: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _write(folder, "beat.log", "1")
    assert run(["logs", name]) == 2
    assert "There are logs of beat." in capsys.readouterr().err


def test_it_says_where_logs_are_if_there_are_none(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["logs"]) == 0
    assert f"There are no logs in {folder}" in capsys.readouterr().out
    folder.rmdir()
    assert run(["logs", "beat"]) == 0
    assert "There are no logs" in capsys.readouterr().out
    monkeypatch.setenv("SEEN_CACHE_ADDR", "127.0.0.1:1")
    settings.load.cache_clear()
    assert run(["logs"]) == 2
    assert "A store is configured" in capsys.readouterr().err
