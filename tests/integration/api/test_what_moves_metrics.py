"""Every metric that processes count × the event that moves it, as `/metrics` shows it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

import tasks
from domain.errors import DatabaseUnavailableError
from domain.job import JobStatus
from tasks.webhooks.dispatcher import Dispatcher, DispatcherParts
from tests.integration.api.conftest import SIZE, Stage
from tests.support.origins.origin import Origin
from tests.support.servers.webhook_receiver import Answer, WebhookReceiver
from tests.support.services.http_api import HttpApi, http_api
from tests.support.services.running import downloaded, run, run_download, running
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until
from worker.job_pool import JobMessage, JobPool
from worker.metrics.catalog import METRICS
from worker.metrics.metric import Kind
from worker.publishing import Publication
from worker.runtime import Runtime

PATIENT = {
    **dict.fromkeys(("SEEN_LOCK_TTL", "SEEN_ORPHAN_AFTER", "SEEN_PROGRESS_TTL"), "60"),
    **dict.fromkeys(("SEEN_CACHE_TIMEOUT", "SEEN_CONNECT_TIMEOUT", "SEEN_LOW_SPEED_TIME"), "60"),
}
#: Not moved by an event of this module: with what holds it.
ELSEWHERE = {"seen_event_watchers_dropped": "test_event_hub.py"}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory, _shared_store: StoreServer) -> Iterator[HttpApi]:
    """One for which a busy machine is no outage."""
    with http_api(tmp_path_factory.mktemp("api"), _shared_store, settings=PATIENT) as api:
        yield api


@pytest.fixture(scope="module")
def origin() -> Iterator[Origin]:
    with Origin() as origin:
        yield origin


@pytest.fixture
def stage(api: HttpApi, origin: Origin, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    with WebhookReceiver() as receiver:
        yield Stage(api, origin, receiver, monkeypatch)


# ── events ──────────────────────────────────────────────────────────────────────────────────────


def pause_while_it_runs(stage: Stage) -> None:
    gate = threading.Event()
    job = stage.job(gate=gate, gate_after=100)
    with running(stage.api.system, job):
        wait_until(lambda: downloaded(stage.api.system, job) == 100, deadline=30)
        tasks.pause(job.id, runtime=stage.runtime)
        wait_until(lambda: stage.api.system.job(job).status is JobStatus.PAUSED, deadline=30)
    gate.set()


def break_off_once(stage: Stage) -> None:
    runtime = stage.runtime
    options = replace(runtime.engine.options, short_retries=3, retry_pause=0.01)
    job = stage.job(truncate_after=100, faults=1)
    run_download(replace(runtime, engine=replace(runtime.engine, options=options)), job.id)


def run_locked(stage: Stage) -> None:
    job = stage.job()
    lock = stage.runtime.cache.download_lock(job.id)
    token = lock.acquire()
    assert token
    run(stage.api.system, job)
    lock.release()


def run_twice(stage: Stage) -> None:
    job = stage.job()
    run(stage.api.system, job)
    run(stage.api.system, job)


def publish(stage: Stage) -> None:
    async def send() -> None:
        await stage.runtime.publish(Publication(stage.job(), requeued=True))

    stage.runtime.event_loop.run(send())


def deliver(status: int) -> Callable[[Stage], None]:
    def event(stage: Stage) -> None:
        stage.receiver.answer = Answer(status)
        stage.run(job_webhook=stage.receiver.url())
        Dispatcher(DispatcherParts.of(stage.runtime)).run()

    return event


def fail(stage: Stage) -> None:
    def work(_: Runtime) -> None:
        raise DatabaseUnavailableError("It does not answer.")

    # No task of this name has ever succeeded: a moment of success is read from its age, never exactly.
    stage.task(work, name="failing_task")


def break_down(stage: Stage) -> None:
    with pytest.raises(ZeroDivisionError):
        stage.task(lambda _: 1 // 0)


def skip(stage: Stage) -> None:
    lock = stage.runtime.cache.lock("task:a_task")
    assert lock.acquire()
    stage.task(lambda _: None)
    lock.release()


def use_up(user: str, action: str, limit: int) -> Callable[[Stage], None]:
    def event(stage: Stage) -> None:
        check = stage.runtime.cache.session.rate_limit_check
        left = check(user, action, limit, 60.0, cost=0).states[0].remaining
        check(user, action, limit, 60.0, cost=left)
        headers = {"Authorization": "Bearer seen_wrong"} if action == "sign-in" else None
        stage.get("/v1/downloads", "" if headers else user, headers=headers)

    return event


def open_too_many(stage: Stage) -> None:
    stage.monkeypatch.setattr(stage.api.hub, "_most", 0)
    stage.get("/v1/events")


def sign_in_wrongly(stage: Stage) -> None:
    stage.get("/v1/downloads", "", headers={"Authorization": "Bearer seen_wrong"})


def wait_for_a_timer(process: str) -> Callable[[Stage], None]:
    def event(stage: Stage) -> None:
        name = f"seen_event_loop_lag_seconds_count {process}"
        before = stage.read()[name]
        stage.runtime.event_loop.call_soon(int)
        wait_until(lambda: stage.read()[name] > before, deadline=30)

    return event


HTTP, TIME = "seen_http_requests_total", "seen_http_request_duration_seconds_count"
RUNS, ENDS = "seen_job_runs_total", "seen_attempts_total"
RESULTS = "seen_webhook_attempts_total"
LIMITED = "seen_rate_limited_requests_total"

#: By event: what it does, and by how much a sample is moved; None for at least one.
MOVED: Mapping[str, tuple[Callable[[Stage], None], Mapping[str, float | None]]] = {
    "a job completes": (
        Stage.run,
        {
            f"{RUNS} completed": 1,
            f"{ENDS} - completed": 1,
            "seen_transfer_duration_seconds_count": 1,
            "seen_transfer_size_bytes_count": 1,
            "seen_transfer_size_bytes_sum": SIZE,
            "seen_transfer_size_bytes_bucket 8192.0": 0,
            "seen_transfer_size_bytes_bucket 65536.0": 1,
            "seen_received_bytes_total": SIZE,
            "seen_lock_wait_seconds_count": 1,
            "seen_slot_wait_seconds_count worker": 1,
            "seen_slot_wait_seconds_count host": 1,
            "seen_batch_duration_seconds_count database": None,
            "seen_batch_duration_seconds_count store": None,
            "seen_batch_size_sum database": None,
            "seen_batch_size_sum store": None,
        },
    ),
    "a job is not there": (
        lambda stage: stage.run(status=404),
        {
            f"{RUNS} failed": 1,
            f"{ENDS} http_404 failed": 1,
            "seen_transfer_duration_seconds_count": 0,
            "seen_received_bytes_total": 0,
        },
    ),
    "an origin answers 503": (
        lambda stage: stage.run(status=503),
        {f"{RUNS} waiting": 1, f"{ENDS} http_503 waiting": 1},
    ),
    "an origin breaks off once": (
        break_off_once,
        {"seen_transfer_retries_total truncated": 1, f"{RUNS} completed": 1},
    ),
    "an origin answers with an unknown status": (
        lambda stage: stage.run(status=599),
        {f"{ENDS} http_5xx waiting": 1},
    ),
    "a checksum is wrong": (
        lambda stage: stage.run(job_checksum=f"sha256:{'0' * 64}"),
        {
            f"{ENDS} checksum_mismatch failed": 1,
            "seen_transfer_size_bytes_count": 0,
            "seen_received_bytes_total": 2 * SIZE,
        },
    ),
    "a running job is paused": (
        pause_while_it_runs,
        {f"{RUNS} paused": 1, f"{ENDS} paused paused": 1, "seen_received_bytes_total": 100},
    ),
    "a job is locked": (run_locked, {f"{RUNS} already running": 1, f"{ENDS} - queued": 0}),
    "a message comes twice": (run_twice, {f"{RUNS} completed": 1, f"{RUNS} not queued": 1}),
    "a job is published": (
        publish,
        {
            "seen_batch_duration_seconds_count broker": 1,
            "seen_batch_size_sum broker": 1,
            "seen_batch_size_bucket 1.0 broker": 1,
        },
    ),
    "a webhook is delivered": (
        deliver(204),
        {f"{RESULTS} delivered": 1, "seen_webhook_attempt_duration_seconds_count": 1},
    ),
    "a receiver fails": (deliver(500), {f"{RESULTS} failed": 1}),
    "a receiver is gone": (deliver(410), {f"{RESULTS} given_up": 1}),
    "a task is done": (
        lambda stage: stage.task(lambda _: None),
        {
            "seen_task_runs_total ok a_task": 1,
            "seen_task_duration_seconds_count a_task": 1,
            "seen_task_last_success_timestamp_seconds a_task": None,
        },
    ),
    "a task fails": (
        fail,
        {
            "seen_task_runs_total failed failing_task": 1,
            "seen_task_duration_seconds_count failing_task": 1,
            "seen_task_last_success_timestamp_seconds failing_task": 0,
        },
    ),
    "a task breaks down": (break_down, {"seen_task_runs_total failed a_task": 1}),
    "a task runs elsewhere": (
        skip,
        {"seen_task_runs_total skipped a_task": 1, "seen_task_duration_seconds_count a_task": 0},
    ),
    "a request": (
        lambda stage: stage.get("/healthz"),
        {f"{HTTP} GET /healthz 2xx": 1, f"{TIME} GET /healthz": 1},
    ),
    "a request for a job that is not there": (
        lambda stage: stage.get("/v1/downloads/0123456789abcdef"),
        {f"{HTTP} GET /v1/downloads/{{job_id}} 4xx": 1},
    ),
    "a path that no route has": (
        lambda stage: stage.get("/v1/nothing?a=b"),
        {f"{HTTP} GET other 4xx": 1, f"{TIME} GET other": 1},
    ),
    "a method that there is not": (
        lambda stage: stage.get("/v1/nothing", method="BREW"),
        {f"{HTTP} other other 4xx": 1},
    ),
    "a foreign Host": (
        lambda stage: stage.get("/healthz", headers={"Host": "example.org"}),
        {f"{HTTP} GET other 4xx": 1, f"{HTTP} GET /healthz 4xx": 0},
    ),
    "a wrong key": (sign_in_wrongly, {"seen_sign_in_failures_total": 1, f"{LIMITED} sign_in": 0}),
    "too many requests": (
        use_up("eve", "requests", 6_000),
        {f"{LIMITED} requests": 1, "seen_sign_in_failures_total": 0},
    ),
    "too many wrong keys": (
        use_up("address:127.0.0.1", "sign-in", 20),
        {f"{LIMITED} sign_in": 1, "seen_sign_in_failures_total": 1},
    ),
    "too many streams": (open_too_many, {f"{LIMITED} streams": 1}),
    "a second of the API": (
        wait_for_a_timer("api"), {"seen_event_loop_lag_seconds_count api": None}
    ),
    "a second of a worker": (
        wait_for_a_timer("worker"), {"seen_event_loop_lag_seconds_count worker": None}
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MOVED)
def test_event_moves_its_metrics(stage: Stage, name: str) -> None:
    event, moved = MOVED[name]
    before = stage.read()
    event(stage)
    after = stage.read()
    for sample, by in moved.items():
        difference = after.get(sample, 0) - before.get(sample, 0)
        assert difference > 0 if by is None else difference == by, sample
    decreased = {one for one, value in before.items() if _is_count(one) and after[one] < value}
    assert not decreased


def _is_count(sample: str) -> bool:
    return sample.split(" ")[0].endswith(("_total", "_count", "_bucket", "_sum"))


# ── gauges ──────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def two_jobs_in_one_slot(stage: Stage) -> Iterator[None]:
    gate, ended = threading.Event(), threading.Event()
    message = JobMessage(tuple(stage.job(gate=gate).id for _ in range(2)))
    JobPool(stage.runtime, 1, max_wait=60).start(message, lambda _: ended.set())
    yield
    gate.set()
    assert ended.wait(30)


@contextmanager
def an_open_stream(stage: Stage) -> Iterator[None]:
    with stage.api.client("ada").stream("GET", "/v1/events") as answer:
        lines = answer.iter_lines()  # kept: without it the stream ends
        next(lines)
        yield


#: By what goes on: values that hold meanwhile.
HELD: Mapping[str, tuple[Callable[[Stage], Any], Mapping[str, float]]] = {
    "two jobs for one slot": (
        two_jobs_in_one_slot,
        {"seen_slots": 1, "seen_slots_used": 1, "seen_jobs_in_hand": 2},
    ),
    # This request, and the stream.
    "an event stream": (
        an_open_stream,
        {"seen_event_watchers": 1, "seen_http_requests_in_flight": 2, "seen_processes api": 1},
    ),
}


@pytest.mark.parametrize("name", HELD)
def test_gauge_has_what_is_so_now(stage: Stage, name: str) -> None:
    goes_on, held = HELD[name]
    with goes_on(stage):
        for sample, value in held.items():
            wait_until(lambda s=sample, v=value: stage.read()[s] == v, what=sample, deadline=30)  # type: ignore[misc]
    wait_until(lambda: stage.read()["seen_event_watchers"] == 0, deadline=30)
    assert stage.read()["seen_slots_used"] == 0


def test_every_metric_is_moved_by_an_event() -> None:
    samples = {one.split(" ")[0] for _, moved in (*MOVED.values(), *HELD.values()) for one in moved}
    ends = {Kind.COUNTER: "_total", Kind.HISTOGRAM: "_count"}
    expected = {
        name + ends.get(one.kind, "") for name, one in METRICS.items() if name not in ELSEWHERE
    }
    # The sum of sizes says more than their number.
    assert expected - samples <= {"seen_batch_size_count"}


def test_no_label_has_what_was_requested(stage: Stage) -> None:
    secret = "k0nfidential"
    stage.run(job_name=f"{secret}.bin")
    stage.get(f"/v1/downloads/{secret}?q={secret}")
    stage.get(f"/{secret}")
    text = stage.api.client("vic").get("/metrics").text
    assert secret not in text
    assert "127.0.0.1" not in text
    assert "ada" not in text
