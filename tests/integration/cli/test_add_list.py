"""`seen add -i`: what is accepted, printed and said, whole, in JSON, with bad lines and interrupted."""

from __future__ import annotations

import io
import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import settings as settings_module
import tasks
from cli import main as main_module
from cli import signals
from cli.commands import jobs as jobs_module
from cli.following import accept as accept_module
from cli.output import accepted as accepted_module
from domain.errors import DatabaseUnavailableError
from domain.job import Job
from tests.support.services.system import System

URL = "http://127.0.0.1:9"
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
REST = "The same command adds the others; a job that is not finished is not added again."


class Add:
    """`seen add` in this process, with lists."""

    def __init__(
        self,
        system: System,
        folder: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        self._system, self._path, self._patch, self._capsys = (
            system,
            folder / "urls.txt",
            monkeypatch,
            capsys,
        )
        self.out, self.err = "", [""]

    def __call__(self, lines: str, *arguments: str, status: int = 0) -> Any:
        self._path.write_text(lines)
        given = ["add", "-i", str(self._path), *arguments]
        self._patch.setattr(sys, "argv", ["seen", *given])
        assert main_module.run(given) == status
        self.out, err = self._capsys.readouterr()
        self.err = err.replace(str(self._path), "urls.txt").splitlines()
        return json.loads(self.out) if "--json" in arguments else None

    def jobs(self) -> list[Job]:
        return sorted(self._system.runtime.jobs.find(limit=1000), key=lambda job: job.id)

    def interrupt_group(self, number: int, times: int = 1) -> None:
        """Raise signals while the group of this number is accepted."""
        submit, groups = tasks.submit_many, iter(range(number + 1))

        def interrupted(*given: Any, **options: Any) -> Any:
            if next(groups, None) == number:
                for _ in range(times):
                    signal.raise_signal(signal.SIGINT)
            return submit(*given, **options)

        self._patch.setattr(tasks, "submit_many", interrupted)


@pytest.fixture
def add(
    system: System,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Add]:
    kept = {number: signal.getsignal(number) for number in SIGNALS}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr(signals, "_REPETITION", 0.0)
    monkeypatch.setattr(settings_module, "load", lambda: system.runtime.settings)
    monkeypatch.setattr(jobs_module, "open_runtime", lambda: system.runtime)
    reader = tasks.JobReader(system.runtime.jobs, system.runtime.cache.download)
    monkeypatch.setattr(jobs_module, "open_reader", lambda: reader)
    monkeypatch.setattr(accept_module, "GROUP", 3)
    yield Add(system, tmp_path, monkeypatch, capsys)
    for number, handler in kept.items():
        signal.signal(number, handler)


def urls(*names: object) -> str:
    return "".join(f"{URL}/{name}\n" for name in names)


def test_every_line_is_a_job_with_the_options_of_the_command(add: Add) -> None:
    lines = f"{URL}/0\t{URL}/m\n out=x\n dir=p\n{urls(1, 2, 3, 1)}"
    add(lines, f"{URL}/typed", "--priority", "low", "-d", "to")
    jobs = add.jobs()
    assert [job.url for job in jobs] == [f"{URL}/{name}" for name in ("typed", 0, 1, 2, 3)]
    assert add.out.splitlines() == [job.id for job in jobs]
    assert {job.priority.value for job in jobs} == {"low"}
    assert [job.directory for job in jobs] == ["to", "to/p", "to", "to", "to"]
    assert (jobs[1].name, jobs[1].mirrors) == ("x", (f"{URL}/m",))
    assert add.err == ["seen: urls.txt: 1 line repeats others; each download is accepted once."]


def test_json_is_one_list(add: Add) -> None:
    printed = add(urls(*range(7)), "--json")
    assert [one["url"] for one in printed] == [f"{URL}/{number}" for number in range(7)]
    assert {one["is_new"] for one in printed} == {True}


def test_bad_lines_are_all_named_and_nothing_is_accepted(add: Add) -> None:
    lines = urls(0) + "x\n" * 25
    add(lines, status=2)
    assert add.err[0].startswith("seen: urls.txt, line 2: url: 'x' is not valid.")
    assert add.err[20] == "seen: urls.txt: 5 more bad lines."
    assert add.err[21:] == [
        "seen: urls.txt has 25 lines that are not accepted, so nothing was accepted. Correct the "
        "list, or leave them out with --skip-bad."
    ]
    error = add(lines, "--json", status=2)["error"]
    assert [one["line"] for one in error["lines"]] == list(range(2, 27))
    assert add.jobs() == []


def test_bad_lines_are_left_out_if_wanted(add: Add) -> None:
    lines = f"x\n{urls(0)}y\n"
    add(lines, "--skip-bad", status=2)
    assert add.err[-1] == "seen: urls.txt: 2 lines left out."
    (job,) = add.jobs()
    assert add.out == f"{job.id}\n"
    printed = add(lines, "--skip-bad", "--json", status=2)
    assert [one.get("line", one.get("id")) for one in printed] == [1, 3, job.id]


REFUSED: dict[str, tuple[str, list[str], str]] = {
    "empty list": ("# nothing\n", [], "The list has no URLs."),
    "only bad lines": ("x\n", ["--skip-bad"], "The list has no usable URLs."),
    "a name for several": (urls(0, 1), ["--name", "x"], "It is allowed with one URL only."),
    "a folder that is too long": (
        f"{urls(0, 1)} dir=b\n",
        ["-d", "/".join(["a" * 99] * 99)],
        "bytes",
    ),
    "standard input twice": (urls(0), ["-i", "-", "-H", "@-"], "reads standard input already"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_before_anything_is_accepted(add: Add, case: str) -> None:
    lines, options, says = REFUSED[case]
    add(lines, *options, status=2)
    assert says in add.err[-1]
    assert add.jobs() == []


def test_options_for_one_url_are_allowed_for_a_list_of_one(add: Add) -> None:
    add(f"{urls(0)} dir=p\n", "--name", "x", "--mirror", f"{URL}/m", "--idempotency-key", "k")
    (job,) = add.jobs()
    assert (job.name, job.directory, job.mirrors) == ("x", "p", (f"{URL}/m",))


def test_standard_input(add: Add, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(urls(0, 1).encode())))
    add("", "-i", "-")
    assert len(add.jobs()) == 2


@pytest.mark.parametrize("as_json", [False, True])
def test_interrupted_it_says_how_many_are_accepted(add: Add, as_json: bool) -> None:
    add.interrupt_group(1)
    options = ["--json"] if as_json else []
    add(urls(*range(8)), *options, status=130)
    assert add.err == [
        "seen: stopping after this group of downloads …",
        f"seen: interrupted. 6 of 8 downloads are accepted. {REST}",
    ]
    printed = json.loads(add.out) if as_json else add.out.splitlines()
    assert len(printed) == len(add.jobs()) == 6
    printed = add(urls(*range(8)), "--json")
    assert [one["is_new"] for one in printed] == [False] * 6 + [True] * 2
    assert len(add.jobs()) == 8


def test_interrupted_twice_it_leaves_at_once(add: Add) -> None:
    add.interrupt_group(1, times=2)
    add(urls(*range(8)), status=130)
    assert add.err[-1] == f"seen: left at once: 3 to 6 of 8 are accepted. {REST}"
    assert len(add.jobs()) == 3


def test_folder_that_is_a_file_is_refused_before_the_first_group(add: Add, system: System) -> None:
    system.downloads.mkdir(exist_ok=True)
    (system.downloads / "file").write_text("")
    add(f"{urls(*range(7))} dir=file\n", status=2)
    assert "is a file; name a folder." in add.err[-1]
    assert add.jobs() == []


@pytest.mark.parametrize("as_json", [False, True])
def test_an_error_between_groups_says_how_many_are_accepted(
    add: Add, monkeypatch: pytest.MonkeyPatch, as_json: bool
) -> None:
    submit, answers = tasks.submit_many, iter([True])

    def once(*given: Any, **options: Any) -> Any:
        if next(answers, None):
            return submit(*given, **options)
        raise DatabaseUnavailableError("The database does not answer.")

    monkeypatch.setattr(tasks, "submit_many", once)
    printed = add(urls(*range(7)), *(["--json"] if as_json else []), status=1)
    assert f"seen: 3 of 7 downloads are accepted. {REST}" in add.err
    assert len(add.jobs()) == 3
    if as_json:
        assert printed[-1]["error"]["code"] == DatabaseUnavailableError.code
        assert len(printed) == 4
    else:
        assert add.err[-1] == "seen: The database does not answer."


def test_jobs_that_exist_are_named_up_to_a_number(
    add: Add, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accepted_module, "_NAMED", 2)
    add(urls(*range(5)))
    add(urls(*range(5)))
    assert [line.endswith("it was not added again.") for line in add.err] == [True, True, False]
    assert add.err[-1] == "seen: 3 more exist already and were not added again."


def test_progress_in_a_pipe_is_a_line_now_and_then(
    add: Add, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accepted_module, "_LINE_PAUSE", 0.0)
    monkeypatch.setattr(accepted_module, "_BAR_PAUSE", 0.0)
    add(urls(*range(8)))
    assert add.err == [f"seen: {number} of 8 downloads are accepted." for number in (0, 3, 6)]
