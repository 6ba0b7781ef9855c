"""What people who know Celery type: each command works, or one sentence says what to use instead.

`docs/operations/celery.md` has the same table.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from domain.job import Job, JobStatus, Priority
from tests.support.faults.aging import age_jobs
from tests.support.origins.origin import Origin
from tests.support.processes.celery_commands import run_all
from tests.support.processes.json_program import End
from tests.support.servers.process import spawn
from tests.support.services.system import ROOT, System
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until
from worker.broker.queues import DOWNLOAD_QUEUES

NODE = "habits"
#: In a command: the id of a completed job, and the node names of both workers.
JOB, WORKER, MAINTENANCE = "JOB", "WORKER", "MAINTENANCE"
#: Each command, its exit status, and a part of what it prints.
COMMANDS: dict[str, tuple[int, str]] = {
    "status": (0, "2 nodes online."),
    "inspect ping -d WORKER": (0, "pong"),
    "inspect active -d WORKER": (0, "OK"),
    "inspect reserved -d WORKER": (0, "OK"),
    "inspect scheduled -d WORKER": (0, "- empty -"),
    "inspect revoked -d WORKER": (0, "- empty -"),
    "inspect registered -d WORKER": (0, "download.run"),
    "inspect stats -d WORKER": (0, '"max-concurrency"'),
    "inspect active_queues -d WORKER": (0, "downloads.high"),
    "inspect query_task JOB -d WORKER": (0, "OK"),
    "inspect conf -d WORKER": (0, '"broker_url": "redis://:********@'),
    "inspect report -d WORKER": (0, "settings -> transport:redis"),
    "report": (0, "settings -> transport:redis"),
    "graph workers": (0, "habits"),
    "list bindings": (0, "downloads.requeued"),
    "purge -f -Q downloads.high": (0, "No messages purged"),
    "call download.requeue_due": (0, "-"),
    "call download.run": (1, "takes one argument, the whole id of a job"),
    'call download.run --args ["JOB"]': (1, "is complete: `seen get` or `seen add`"),
    'call download.run --args ["nonsense"]': (1, "takes one argument, the whole id of a job"),
    'call download.run --args ["01a22c81-3ef"]': (1, "takes one argument, the whole id of a job"),
    'call download.run --args ["JOB"] --countdown 5': (1, "has no countdown"),
    'call download.run --args ["JOB"] --queue maintenance': (1, "is no queue of download.run"),
    'call download.run --args ["01a22c47-251c-74ee-8a0c-19d2690bc1e6"]': (1, "There is no job"),
    "call download.purge --args [1]": (1, "takes no arguments"),
    "call nonsense": (1, "There is no task 'nonsense'"),
    "result JOB": (1, "`seen show JOB`"),
    "result JOB --traceback": (1, "`seen show JOB`"),
    "control revoke JOB -d WORKER": (0, "`seen cancel JOB`"),
    "control terminate KILL JOB -d WORKER": (0, "`seen cancel JOB`"),
    "control rate_limit download.run 1/m -d WORKER": (0, "`seen limit`"),
    "control time_limit download.run 1 2 -d WORKER": (0, "no time limit"),
    "control autoscale 5 3 -d WORKER": (0, "autoscale now max=5 min=3"),
    "control pool_grow 1 -d MAINTENANCE": (0, "pool will grow"),
    "control pool_shrink 1 -d MAINTENANCE": (0, "pool will shrink"),
    "control cancel_consumer downloads.low -d WORKER": (0, "no longer consuming"),
    "control add_consumer downloads.low -d WORKER": (0, "add consumer downloads.low"),
    "control add_consumer foo": (1, "cannot be 'foo'. The queues are downloads.requeued"),
    "control cancel_consumer foo -d WORKER": (1, "cannot be 'foo'. The queues are"),
    "control pool_grow 100000": (1, "The argument n of pool_grow cannot be 100000"),
    "control autoscale 5000 1": (1, "The argument max of autoscale cannot be 5000"),
    "control rate_limit download.run nonsense": (1, "`seen limit`"),
    "control election 1 topic action": (1, "'election' is no command that workers accept"),
    "inspect memsample": (1, "'memsample' is no command that workers accept. No command"),
    "inspect memdump": (1, "'memdump' is no command that workers accept. No command"),
    "inspect objgraph": (1, "'objgraph' is no command that workers accept. No command"),
    "control disable_events -d WORKER": (0, "task events"),
    "control enable_events -d WORKER": (0, "task events"),
    "worker -Q unknown": (1, "'unknown' is not valid. There are downloads (all of"),
}


@pytest.fixture(scope="module")
def origin() -> Iterator[Origin]:
    """An origin for the module's stack."""
    with Origin() as server:
        yield server


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A store without workers yet."""
    folder = tmp_path_factory.mktemp("habits")
    with StoreServer() as store, System(folder, store) as system:
        yield system


class Jobs(NamedTuple):
    """The jobs of the module, both submitted before the queues were purged."""

    called: Job
    """Of high priority, called by Celery's command line after the purge, and completed."""
    purged: Job


@pytest.fixture(scope="module")
def jobs(system: System, origin: Origin) -> Iterator[Jobs]:
    """Jobs that a worker runs which Celery's command line has started, with a beat inside."""
    file = origin.serve("/film", size=1000)
    purged = system.submit(f"{file.url}?purged", priority=Priority.LOW)
    called = system.submit(file.url, priority=Priority.HIGH)
    purge, call = run_all(
        [["purge", "-f"], ["call", "download.run", "--args", json.dumps([called.id])]],
        system.environment,
    )
    assert "Purged 2 messages" in purge.output
    assert call.status == 0, call.output
    assert system.runtime.broker.backlogs()["high"] == system.backlog() == 1
    system.start_worker("maintenance", wait=False)
    worker = spawn(
        [
            *(sys.executable, "-m", "celery", "-A", "worker.app", "worker", "-n", f"{NODE}@%h"),
            *("-Q", "downloads", "--autoscale", "4,2", "-B", "-O", "fair"),
            *("--max-tasks-per-child", "5", "-l", "INFO", f"--pidfile={system.folder / 'pid'}"),
        ],
        log=system.folder / "habits.log",
        env=system.environment,
        cwd=ROOT,
    )
    try:
        system.wait_for(called, JobStatus.COMPLETED)
        yield Jobs(called, purged)
    finally:
        os.killpg(worker.pid, signal.SIGKILL)  # with its beat, which is a process of its own
        worker.wait()


@pytest.fixture(scope="module")
def answers(system: System, jobs: Jobs) -> dict[str, End]:
    """The answer to each command."""
    wait_until(lambda: len(queues_by_node(system)) == 2, what="the heartbeats of both workers")
    downloads, maintenance = sorted(queues_by_node(system))
    values = {JOB: jobs.called.id, WORKER: downloads, MAINTENANCE: maintenance}
    lists = [[_replaced(word, values) for word in command.split()] for command in COMMANDS]
    return dict(zip(COMMANDS, run_all(lists, system.environment), strict=True))


def _replaced(word: str, values: dict[str, str]) -> str:
    for placeholder, value in values.items():
        word = word.replace(placeholder, value)
    return word


def queues_by_node(system: System) -> dict[str, set[str]]:
    """The queues of the workers that run, by their node names."""
    return {one.name: set(one.queues) for one in system.runtime.cache.workers.running()}


@pytest.mark.parametrize("command", COMMANDS)
def test_command_works_or_says_what_to_use(
    answers: dict[str, End], jobs: Jobs, command: str
) -> None:
    status, part = COMMANDS[command]
    answer = answers[command]
    assert part in answer.output.replace(jobs.called.id, JOB)
    assert answer.status == status
    assert "Traceback" not in answer.output


def test_no_command_prints_the_password(answers: dict[str, End], system: System) -> None:
    assert system.store.password not in "".join(answer.output for answer in answers.values())


def test_no_worker_refused_a_message(answers: dict[str, End], system: System) -> None:
    letters = system.runtime.broker.dead_letters()
    assert [(one.queue, one.reason) for one in letters] == []
    assert "Traceback" not in system.log("habits")


def test_downloads_names_all_download_queues(system: System, jobs: Jobs) -> None:
    queues = wait_until(
        lambda: [q for name, q in queues_by_node(system).items() if name.startswith(NODE)]
    )
    assert queues == [set(DOWNLOAD_QUEUES)]


def test_purged_job_gets_another_message(
    answers: dict[str, End], system: System, jobs: Jobs
) -> None:
    age_jobs(system)  # a message is missed only after a while
    system.wait_for(jobs.purged, JobStatus.COMPLETED)
