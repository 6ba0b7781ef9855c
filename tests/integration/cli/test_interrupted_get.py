"""`seen get` interrupted at each moment: what was accepted is paused or named, and the status is 130.

The signals are raised in this process by hooks in what the command calls, so that no test needs a pause.
"""

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

import settings as settings_module
import tasks
from cli import main as main_module
from cli import signals
from cli.commands import get as get_module
from cli.following import batch as batch_module
from cli.following.batch import Batch
from cli.local_stack import client
from cli.output.progress.plain_lines import PlainLines
from cli.signals import AnsweredInterrupt, interrupt_on_termination
from database.models import jobs
from domain.job import JobStatus
from seen_local import stack_state
from tests.support.services.system import System

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
URLS = [f"http://127.0.0.1:9/{name}.bin" for name in "abc"]
PAUSED = [JobStatus.PAUSED] * 3
PAUSING = "pausing … (Ctrl-C again leaves at once)"
CONTINUES = "seen: interrupted. The same command continues where it stopped."
LEFT = "seen: left at once: downloads may still run. `seen list` shows them."


@pytest.fixture(autouse=True)
def _handlers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give the process the handlers that a command starts with, and take them back."""
    kept = {number: signal.getsignal(number) for number in SIGNALS}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr(signals, "_REPETITION", 0.0)
    monkeypatch.setattr(signals, "_interrupted_at", float("-inf"))
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


class Seen:
    """`seen get` in this process, with hooks."""

    def __init__(self, system: System, monkeypatch: pytest.MonkeyPatch) -> None:
        self.system, self._patch = system, monkeypatch
        monkeypatch.setattr(settings_module, "load", lambda: system.runtime.settings)
        system.downloads.mkdir(exist_ok=True)
        monkeypatch.chdir(system.downloads)
        monkeypatch.setattr(batch_module, "open_runtime", lambda: system.runtime)

    def before(self, owner: Any, name: str, *actions: Callable[[], object] | None) -> None:
        """Run the first action before the first call of a method, and so on."""
        called, left = getattr(owner, name), list(actions)

        def hooked(*arguments: Any, **options: Any) -> Any:
            action = left.pop(0) if left else None
            if action is not None:
                action()
            return called(*arguments, **options)

        self._patch.setattr(owner, name, hooked)

    def run(self, *arguments: str) -> int:
        self._patch.setattr(sys, "argv", ["seen", "get", *arguments])
        return main_module.run(["get", *arguments])

    def statuses(self) -> list[JobStatus]:
        jobs = sorted(self.system.runtime.jobs.find(), key=lambda job: job.url)
        return [job.status for job in jobs]


@pytest.fixture
def seen(system: System, monkeypatch: pytest.MonkeyPatch) -> Seen:
    return Seen(system, monkeypatch)


def interrupt(number: signal.Signals = signal.SIGINT) -> Callable[[], None]:
    return lambda: signal.raise_signal(number)


def twice() -> None:
    signal.raise_signal(signal.SIGINT)
    signal.raise_signal(signal.SIGINT)


@dataclass(frozen=True)
class Moment:
    """Where the signals come, and what follows.

    Attributes:
        hook: installs them.
        says: the last line of standard error.
        jobs: their states; None if they may be in any.
    """

    hook: Callable[[Seen], object]
    says: str = CONTINUES
    jobs: list[JobStatus] | None = None


def publisher(seen: Seen) -> Any:
    return type(seen.system.runtime.publisher)


def interrupt_publishing(seen: Seen, number: signal.Signals) -> None:
    seen.before(publisher(seen), "publish", interrupt(number))


def interrupt_pausing(seen: Seen) -> None:
    seen.before(PlainLines, "show", interrupt())
    seen.before(Batch, "pause", interrupt())


MOMENTS = {
    "before the jobs are submitted": Moment(
        lambda s: s.before(get_module, "_display", interrupt()), "seen: interrupted.", []
    ),
    "before one of them is stored": Moment(
        lambda s: s.before(type(s.system.runtime.jobs), "add", interrupt()), jobs=PAUSED
    ),
    **{
        f"between storing and sending them, {number.name}": Moment(
            partial(interrupt_publishing, number=number), jobs=PAUSED
        )
        for number in SIGNALS
    },
    "twice while they are submitted": Moment(
        lambda s: s.before(publisher(s), "publish", twice), LEFT
    ),
    "after they are submitted": Moment(lambda s: s.before(Batch, "read", interrupt()), jobs=PAUSED),
    "at the first line": Moment(lambda s: s.before(PlainLines, "show", interrupt()), jobs=PAUSED),
    "while they run": Moment(
        lambda s: s.before(PlainLines, "show", None, interrupt()), jobs=PAUSED
    ),
    "while they are paused": Moment(interrupt_pausing, LEFT),
    "while it waits for their pause": Moment(
        lambda s: s.before(PlainLines, "show", interrupt(), interrupt()), LEFT
    ),
}


@pytest.mark.parametrize("moment", MOMENTS.values(), ids=MOMENTS.keys())
def test_an_interrupt_leaves_no_job_running_unsaid(
    seen: Seen, moment: Moment, capsys: pytest.CaptureFixture[str]
) -> None:
    moment.hook(seen)
    assert seen.run(*URLS) == 130
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1] == moment.says
    assert (f"seen: {PAUSING}" in lines) is (moment.says != "seen: interrupted.")
    assert moment.jobs is None or seen.statuses() == moment.jobs
    assert signal.getsignal(signal.SIGINT) is signals._interrupt


@pytest.mark.parametrize("owner", ["publisher", "display"])
def test_a_signal_to_the_process_and_to_its_group_is_one(
    owner: str, seen: Seen, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(signals, "_REPETITION", 600.0)
    if owner == "publisher":
        seen.before(publisher(seen), "publish", twice)
    else:
        interrupt_pausing(seen)
    assert seen.run(*URLS) == 130
    assert capsys.readouterr().err.splitlines()[-1] == CONTINUES
    assert seen.statuses() == PAUSED


def test_interrupted_between_submissions_it_names_the_command_for_the_others(
    seen: Seen, capsys: pytest.CaptureFixture[str]
) -> None:
    def end_first() -> None:
        (job,) = seen.system.runtime.jobs.find()
        tasks.cancel(job.id, runtime=seen.system.runtime)

    seen.before(PlainLines, "show", end_first)
    seen.before(publisher(seen), "publish", None, interrupt())
    assert seen.run("-j", "1", *URLS) == 130
    assert seen.statuses() == [JobStatus.CANCELLED, JobStatus.PAUSED]
    command = shlex.join(["seen", "get", "-j", "1", *URLS[1:]])
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == f"seen: interrupted. To continue the others: {command}"


def test_jobs_of_other_commands_go_on(seen: Seen, capsys: pytest.CaptureFixture[str]) -> None:
    seen.system.submit(URLS[0])
    seen.before(PlainLines, "show", interrupt())
    assert seen.run(*URLS[:2]) == 130
    assert seen.statuses() == [JobStatus.QUEUED, JobStatus.PAUSED]
    lines = capsys.readouterr().err.splitlines()
    assert lines[-2] == "seen: 1 of the downloads belongs to another command and goes on."
    assert lines[-1] == CONTINUES


def test_interrupted_it_says_what_of_a_list_is_complete(
    seen: Seen, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def complete_first() -> None:
        change = update(jobs).where(jobs.c.url == URLS[0]).values(status="completed")
        with seen.system.runtime.database.engine.begin() as connection:
            connection.execute(change)

    (tmp_path / "urls.txt").write_text("\n".join(URLS))
    seen.before(PlainLines, "show", complete_first, None, interrupt())
    assert seen.run("-i", str(tmp_path / "urls.txt")) == 130
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"{CONTINUES} 1 file of the list arrived whole and would be downloaded again: remove those "
        "lines first."
    )


def test_interrupted_while_the_stack_stops_it_leaves(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    interrupt_on_termination()
    monkeypatch.setattr(stack_state, "supervisor_is_running", lambda _: twice())
    with pytest.raises(AnsweredInterrupt):
        client._wait_until_stopped(tmp_path, None)  # type: ignore[arg-type]
    said = "seen: interrupted. No download runs any more; the workers stop by themselves.\n"
    assert capsys.readouterr().err == said


@pytest.mark.parametrize("command", ["add", "list", "show", "watch", "up", "doctor", "cache stats"])
def test_each_command_says_that_it_was_interrupted(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("typer.core.TyperCommand.invoke", interrupted)
    given = {"add": [URLS[0]], "show": ["01a205a2"]}.get(command, [])
    assert main_module.run([*command.split(), *given]) == 130
    assert capsys.readouterr().err == "seen: interrupted.\n"
