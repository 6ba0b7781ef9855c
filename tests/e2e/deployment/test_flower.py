"""Flower as people use it: a real worker, a real Flower, its pages and its API over HTTP."""

from __future__ import annotations

import http.client
import json
import os
import signal
import sys
from base64 import b64encode
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import tasks
from domain.job import Job, JobStatus
from tests.support.origins.origin import Origin
from tests.support.servers.process import Process, end_process, free_port, spawn, tail, wait_ready
from tests.support.services.system import ROOT, System
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until
from worker.broker.queues import DOWNLOAD_QUEUES

USER = "watcher"
# With a comma, at which Flower splits the passwords it takes from its own environment variable.
PASSWORD = "open,sesame"
SECRET = "hunter2-in-the-query"
PATH = "/films/secret-title.bin"


#: The `celery` command with a timer of Flower that fires ten times as often.
_QUICK = """
import sys
from celery.__main__ import main
from flower.events import Events
Events.events_enable_interval //= 10
sys.exit(main())
"""


class Answer(NamedTuple):
    """An HTTP answer."""

    status: int
    text: str

    def json(self) -> Any:
        return json.loads(self.text)


class Flower:
    """A Flower process of the test's own."""

    def __init__(
        self, system: System, settings: Mapping[str, str] | None = None, *, quick: bool = False
    ) -> None:
        self._quick = quick
        self.port = free_port()
        self._log = system.folder / f"flower-{self.port}.log"
        # FLOWER_ variables of the environment must not open access.
        self._environment = {
            **system.environment,
            "SEEN_FLOWER_PORT": str(self.port),
            "SEEN_FLOWER_USER": USER,
            "SEEN_FLOWER_PASSWORD": PASSWORD,
            "FLOWER_UNAUTHENTICATED_API": "true",
            "FLOWER_READ_ONLY": "false",
            "FLOWER_BASIC_AUTH": f"{USER}:another",
            **(settings or {}),
        }
        self._process: Process | None = None

    def start(self, *, wait: bool = True) -> Process:
        # Its timer for workers that start later fires every 0.5 s, not every five seconds.
        program = ["-c", _QUICK] if self._quick else ["-m", "celery"]
        command = [sys.executable, *program, "-A", "worker.app"]
        command += ["flower", "--conf=flowerconfig.py"]
        self._process = spawn(command, log=self._log, env=self._environment, cwd=ROOT)
        if wait:
            wait_ready(self._process, self._log, self._answers, deadline=30)
        return self._process

    def stop(self) -> None:
        if self._process is not None:
            end_process(self._process, how=signal.SIGTERM, grace=20)

    def log(self) -> str:
        """Return all that it has printed."""
        return self._log.read_text(errors="replace")

    def output(self) -> str:
        return tail(self._log)

    def get(self, path: str, *, password: str | None = PASSWORD) -> Answer:
        return self._request("GET", path, password)

    def post(self, path: str) -> Answer:
        return self._request("POST", path, PASSWORD)

    def tasks(self, **wanted: object) -> list[dict[str, Any]]:
        """The tasks that Flower knows and whose fields are as wanted."""
        return [
            task
            for task in self.get("/api/tasks").json().values()
            if all(task[name] == value for name, value in wanted.items())
        ]

    def _request(self, method: str, path: str, password: str | None) -> Answer:
        headers = {}
        if password is not None:
            token = b64encode(f"{USER}:{password}".encode()).decode()
            headers["Authorization"] = f"Basic {token}"
        return self.request(method, path, headers)

    def request(self, method: str, path: str, headers: Mapping[str, str]) -> Answer:
        """Send a request with these headers and return the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, headers=headers)
            answer = connection.getresponse()
            return Answer(answer.status, answer.read().decode())
        finally:
            connection.close()

    def _answers(self) -> bool:
        try:
            return self.get("/healthcheck").status == 200
        except OSError:
            return False


@pytest.fixture
def system(tmp_path: Path, store: StoreServer) -> Iterator[System]:
    with System(tmp_path, store) as system:
        yield system


@pytest.fixture
def flower(system: System) -> Iterator[Flower]:
    flower = Flower(system)
    flower.start()
    yield flower
    flower.stop()


def run_download(system: System, flower: Flower, origin: Origin) -> tuple[Job, dict[str, Any]]:
    """Download one file and return its job, and its task as Flower shows it when it is done."""
    # Flower shows only events that it received, so it must run before anything happens.
    wait_until(lambda: worker_of(flower), deadline=30, what="Flower knows the worker")
    file = origin.serve(PATH, size=300_000)
    job = system.submit(f"{file.url}?token={SECRET}")
    system.wait_for(job, JobStatus.COMPLETED)
    (task,) = wait_until(
        lambda: flower.tasks(name="download.run", state="SUCCESS"), what="Flower shows the task"
    )
    return job, task


def worker_of(flower: Flower) -> str | None:
    """The name of the one worker whose events Flower has received, None before the first."""
    workers = flower.get("/workers?json=1").json()["data"]
    return next((str(worker["hostname"]) for worker in workers if worker["status"]), None)


def inspected(flower: Flower, name: str) -> dict[str, Any]:
    """What Flower shows of a worker."""

    def shown() -> dict[str, Any]:
        # The first answer can be that of an inspection from before the worker was there.
        info: dict[str, Any] = flower.get("/api/workers?refresh=1").json().get(name, {})
        return info if {"stats", "active_queues", "registered", "conf"} <= info.keys() else {}

    return wait_until(shown, deadline=30, what=f"{name} is shown")


def test_flower_shows_a_download_by_its_job_id(
    system: System, flower: Flower, origin: Origin
) -> None:
    system.start_worker()

    job, task = run_download(system, flower, origin)

    assert task["worker"] == worker_of(flower)
    worker = inspected(flower, task["worker"])
    assert [queue["name"] for queue in worker["active_queues"]] == list(DOWNLOAD_QUEUES)
    assert "download.run" in worker["registered"]
    assert job.id in task["args"]
    assert task["runtime"] > 0
    row = rows(flower)[task["uuid"]]
    assert row["args"] == job.id, "plainly, not as a piece of Python"
    assert row["state"] == "SUCCESS"
    assert job.id in flower.get(f"/task/{task['uuid']}").text
    metrics = flower.get("/metrics", password=None).text
    assert 'flower_task_runtime_seconds_bucket{le="14400.0"' in metrics


def rows(flower: Flower) -> dict[str, dict[str, Any]]:
    """The rows of the task page, which it loads from here, by the tasks' ids."""
    answer = flower.get(
        "/tasks/datatable?draw=1&start=0&length=100"
        "&order[0][column]=0&order[0][dir]=asc&columns[0][data]=name"
    )
    return {row["uuid"]: row for row in answer.json()["data"]}


def test_no_page_shows_where_a_file_comes_from(
    system: System, flower: Flower, origin: Origin, store: StoreServer
) -> None:
    system.start_worker()

    job, task = run_download(system, flower, origin)

    inspected(flower, task["worker"])
    pages = {
        path: flower.get(path)
        for path in (
            "/api/workers",
            "/api/tasks",
            f"/api/task/info/{task['uuid']}",
            "/tasks",
            "/tasks/datatable?draw=1&start=0&length=100"
            "&order[0][column]=0&order[0][dir]=asc&columns[0][data]=name",
            f"/task/{task['uuid']}",
            "/workers",
            f"/worker/{task['worker']}",
            "/broker",
            "/metrics",
        )
    }
    assert {path: page.status for path, page in pages.items() if page.status != 200} == {}
    host = f"127.0.0.1:{origin.port}"
    texts = {path: page.text for path, page in pages.items()} | {"its log": flower.output()}
    for where, text in texts.items():
        for secret in (SECRET, "secret-title", host, job.url, store.password, PASSWORD):
            assert secret not in text, f"{secret} in {where}"
    assert job.id in pages["/api/tasks"].text


@pytest.mark.parametrize("path", ["/", "/tasks", "/broker", "/api/workers", "/api/tasks"])
@pytest.mark.parametrize("password", [None, "", "wrong", "open", "another"])
def test_nothing_is_shown_without_the_password(
    shared_flower: Flower, path: str, password: str | None
) -> None:
    answer = shared_flower.get(path, password=password)

    assert answer.status == 401
    assert shared_flower.get(path).status == 200


def _encoded(login: str, encoding: str = "utf-8") -> str:
    return b64encode(login.encode(encoding)).decode()


#: Values of the Authorization header that are no right login.
WRONG_LOGINS = {
    "empty": "",
    "a scheme alone": "Basic",
    "a scheme and a space": "Basic ",
    "another scheme": f"Bearer {_encoded(f'{USER}:{PASSWORD}')}",
    "no scheme": _encoded(f"{USER}:{PASSWORD}"),
    "three words": f"Basic {_encoded(f'{USER}:{PASSWORD}')} more",
    "not encoded": f"Basic {USER}:{PASSWORD}",
    "bad padding": "Basic YWI",
    "no Base64": "Basic ****",
    "an empty login": f"Basic {_encoded('')}",
    "no colon": f"Basic {_encoded(USER)}",
    "a colon alone": f"Basic {_encoded(':')}",
    "UTF-8": f"Basic {_encoded(f'{USER}:pässwörd')}",
    "UTF-8 user": f"Basic {_encoded(f'ñandú:{PASSWORD}')}",
    "emoji": f"Basic {_encoded(f'{USER}:🔑')}",
    "Latin-1": f"Basic {_encoded(f'{USER}:pässwörd', 'latin-1')}",
    "UTF-16": f"Basic {_encoded(f'{USER}:{PASSWORD}', 'utf-16')}",
    "NUL": "Basic " + _encoded(f"{USER}:{PASSWORD}\0"),
    "bytes outside ASCII": "Basic ñ",
    "scheme outside ASCII": "Bäsic YTpi",
    "long": f"Basic {_encoded(f'{USER}:' + 'x' * 20_000)}",
    "long outside ASCII": f"Basic {_encoded(f'{USER}:' + 'é' * 10_000)}",
}


@pytest.mark.parametrize("name", WRONG_LOGINS)
def test_every_wrong_login_is_refused_alike(shared_flower: Flower, name: str) -> None:
    headers = {"Authorization": WRONG_LOGINS[name]}

    for path in ("/", "/api/tasks"):
        assert shared_flower.request("GET", path, headers).status == 401
    assert "Traceback" not in shared_flower.log()


@pytest.fixture(scope="module")
def shared_flower(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flower]:
    """A Flower with nothing to show, for tests that change nothing."""
    with StoreServer() as store, System(tmp_path_factory.mktemp("flower"), store) as system:
        flower = Flower(system)
        flower.start()
        yield flower
        flower.stop()


@pytest.mark.parametrize(
    "path",
    [
        "/api/task/revoke/00000000-0000-7000-8000-000000000000?terminate=true",
        "/api/task/apply/download.requeue_due",
        "/api/task/async-apply/download.requeue_due",
        "/api/task/send-task/download.run",
        "/api/task/timeout/download.run?soft=1",
        "/api/task/rate-limit/download.run?ratelimit=1/h",
        "/api/worker/shutdown/downloads@here",
        "/api/worker/pool/shrink/downloads@here",
        "/api/worker/queue/cancel-consumer/downloads@here?queue=downloads",
    ],
)
def test_flower_only_shows(shared_flower: Flower, path: str) -> None:
    assert shared_flower.post(path).status == 403


def test_task_ends_in_the_state_of_its_job(system: System, flower: Flower, origin: Origin) -> None:
    """One row a message, none of a periodic task; the job's own messages are the only ones."""
    first = system.start_worker()
    system.start_maintenance()
    wait_until(lambda: worker_of(flower), deadline=30, what="Flower knows the worker")
    completed = system.submit(origin.serve("/a", size=1000).url)
    failed = system.submit(f"{completed.url}-missing?token={SECRET}")
    waiting = system.submit(f"http://127.0.0.1:{free_port()}/refused?token={SECRET}")
    paused, requeued, killed = (start_slowly(system, origin, path) for path in ("/p", "/q", "/k"))
    tasks.pause(paused.id, runtime=system.runtime)
    system.wait_for(paused, JobStatus.PAUSED)
    wait_until(lambda: waiting.id in results(flower, "RETRY"), what="the waiting job is shown")
    cancelled = start_slowly(system, origin, "/c")
    tasks.cancel(cancelled.id, runtime=system.runtime)
    system.wait_for(cancelled, JobStatus.CANCELLED)
    os.kill(first.pid, signal.SIGTERM)
    second = system.start_worker()
    wait_until(lambda: requeued.id in results(flower, "RETRY"), what="the drain is shown")
    system.wait_for(killed, JobStatus.DOWNLOADING)
    os.killpg(second.pid, signal.SIGKILL)
    for job in (waiting, requeued):
        tasks.cancel(job.id, runtime=system.runtime)
    origin.serve("/k", size=30_000_000)  # the same file, as fast as it can
    system.start_worker()
    system.wait_for(killed, JobStatus.COMPLETED)
    wait_until(lambda: killed.id in results(flower, "SUCCESS"), what="the last one is shown")

    assert results(flower, "SUCCESS") == {completed.id: "completed", killed.id: "completed"}
    assert results(flower, "FAILURE") == {failed.id: "failed: The origin answered 404 Not Found."}
    assert results(flower, "RETRY")[waiting.id].startswith("waiting: The connection failed: ")
    assert results(flower, "RETRY")[requeued.id].startswith("requeued: ")
    assert results(flower, "REVOKED")[paused.id].startswith("paused: ")
    assert results(flower, "REVOKED")[cancelled.id].startswith("cancelled: ")
    check_that_nothing_else_was_sent(system, flower)


def start_slowly(system: System, origin: Origin, path: str) -> Job:
    """Start a download that takes longer than the test."""
    job = system.submit(origin.serve(path, size=30_000_000, bytes_per_second=300_000).url)
    return system.wait_for(job, JobStatus.DOWNLOADING)


def check_that_nothing_else_was_sent(system: System, flower: Flower) -> None:
    """Check that no end of a task left, lost or repeated a message, or a traceback."""
    assert {task["name"] for task in flower.tasks()} == {"download.run"}
    assert not any(task["traceback"] for task in flower.tasks())
    wait_until(lambda: system.backlog() == 0, what="every message was consumed once")
    assert system.runtime.broker.dead_letters() == []
    assert "Traceback" not in system.logs()
    assert SECRET not in flower.get("/api/tasks").text


def results(flower: Flower, state: str) -> dict[str, str]:
    """What the task page shows as results of the tasks in a state, by job id."""
    found = [row for row in rows(flower).values() if row["state"] == state]
    return {row["args"]: row["result"] for row in found}


def test_flower_remembers_its_tasks_over_a_restart(
    system: System, flower: Flower, origin: Origin
) -> None:
    system.start_worker()
    job, task = run_download(system, flower, origin)

    flower.stop()
    flower.start()

    (known,) = flower.tasks(uuid=task["uuid"])
    assert known["state"] == "SUCCESS"
    assert job.id in known["args"]


@pytest.mark.parametrize("password", ["", "pässword"])
def test_flower_does_not_start_without_a_usable_password(system: System, password: str) -> None:
    flower = Flower(system, {"SEEN_FLOWER_PASSWORD": password, "FLOWER_BASIC_AUTH": ""})
    try:
        assert flower.start(wait=False).wait(30) != 0
    finally:
        flower.stop()
    assert "SEEN_FLOWER_PASSWORD" in flower.output()
    assert "Traceback" not in flower.output()
