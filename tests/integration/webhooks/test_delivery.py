"""Deliveries: what receivers get, what follows from their answers, and faults on both sides."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest

from database.webhooks import DeliveryState, Receivers
from domain.job import JobStatus
from domain.urls import display_url
from tasks.api.job_json import job_as_json
from tasks.api.job_view import JobView
from tasks.webhooks.background import deliver_in_background
from tasks.webhooks.dispatcher import LEASE, PER_HOST, Dispatcher
from tasks.webhooks.schedule import MAX_ATTEMPTS, PAUSES
from tests.integration.webhooks.conftest import Service
from tests.support.servers.process import free_port
from tests.support.servers.tls import Authority, TlsFront
from tests.support.servers.webhook_receiver import Answer, Received, WebhookReceiver
from tests.support.wait import wait_until
from worker.transfer.http.address_guard import AddressGuard
from worker.webhooks.http_sender import MAX_RESPONSE
from worker.webhooks.signatures import signature

_S = JobStatus
PENDING, DELIVERED, GIVEN_UP = DeliveryState
HUGE = b"x" * MAX_RESPONSE


def test_a_receiver_gets_the_signed_job_as_the_api_shows_it(
    service: Service, receiver: WebhookReceiver
) -> None:
    job = service.ended(receiver.url("/a?b=c"), _S.COMPLETED, user_id="ada", name="ü.bin")
    assert service.deliver() == 1
    (request,) = receiver.received
    shown = dict(job_as_json(JobView.merge(job, None)))
    assert request.content == {
        "type": "download.completed",
        "timestamp": service.clock.now.isoformat(),
        "data": {**shown, "webhook": display_url(receiver.url(), secret=True)},
    }
    assert request.path == "/a?b=c"
    assert request.headers["content-type"] == "application/json"
    secrets = service.parts.secrets.current("ada", service.clock.now)
    (delivery,) = service.deliveries()
    message_id, timestamp = delivery.message_id, int(service.clock.now.timestamp())
    assert request.headers["webhook-id"] == message_id
    assert request.headers["webhook-timestamp"] == str(timestamp)
    expected = signature(secrets[0], message_id, timestamp, request.body)
    assert request.headers["webhook-signature"] == expected
    assert delivery.state is DELIVERED
    assert delivery.log[0].status == 204


def test_both_secrets_sign_for_a_day_after_one_was_replaced(
    service: Service, receiver: WebhookReceiver
) -> None:
    secrets, now = service.parts.secrets, service.clock.now
    (former,) = secrets.current("", now)
    new = secrets.replace("", now)
    assert secrets.current("", now) == [new, former]
    service.ended(receiver.url())
    service.deliver()
    assert receiver.received[0].headers["webhook-signature"].count("v1,") == 2
    assert secrets.current("", now + timedelta(days=1)) == [new]
    assert secrets.current("ada", now) != [new]


@dataclass(frozen=True)
class Case:
    """An answer, and what follows from it."""

    answer: Answer
    state: DeliveryState
    pause: float = PAUSES[0]
    error: str = ""


CASES = {
    **{str(status): Case(Answer(status), DELIVERED) for status in (200, 201, 202, 204, 299)},
    **{
        f"{status} to itself": Case(
            Answer(status, {"location": "/hook"}), PENDING, error="Redirects are not followed"
        )
        for status in (301, 302, 303, 307, 308)
    },
    **{
        str(status): Case(Answer(status), PENDING, error=f"answered {status}")
        for status in (304, 400, 401, 403, 404, 405, 413, 422, 429, 500, 501, 502, 503, 599)
    },
    "410": Case(Answer(410), GIVEN_UP, error="410"),
    "503 for a time": Case(Answer(503, {"retry-after": "600"}), PENDING, 600),
    "429 for a short time": Case(Answer(429, {"retry-after": "1"}), PENDING, PAUSES[0]),
    "429 for a year": Case(Answer(429, {"retry-after": "31536000"}), PENDING, 86_400),
    "503 and no time": Case(Answer(503, {"retry-after": "soon"}), PENDING, PAUSES[0]),
    "200 and a huge body": Case(Answer(200, {}, HUGE, 10_000), DELIVERED),
    "500 and a huge body": Case(Answer(500, {}, HUGE, 10_000), PENDING, error="answered 500"),
    "200 and a huge header": Case(
        Answer(200, {f"x-{n}": "y" * 4000 for n in range(30)}), PENDING, error="header"
    ),
}


def test_what_follows_from_each_answer(service: Service, receiver: WebhookReceiver) -> None:
    jobs = {name: service.ended(receiver.url(f"/{number}")) for number, name in enumerate(CASES)}
    answers = {f"/{number}": case.answer for number, case in enumerate(CASES.values())}
    receiver.answer = lambda request: answers[request.path]
    assert service.deliver() == len(CASES)
    assert Counter(one.path for one in receiver.received) == Counter(dict.fromkeys(answers, 1))
    for name, case in CASES.items():
        (delivery,) = service.deliveries(jobs[name])
        (attempt,) = delivery.log
        assert delivery.state is case.state, name
        assert case.error in (attempt.error or ""), name
        assert (attempt.error is None) is (case.state is DELIVERED), name
        if case.state is PENDING:
            seconds = (delivery.next_attempt_at - service.clock.now).total_seconds()
            assert case.pause <= seconds <= 1.2 * case.pause, name


def test_receivers_that_cannot_be_reached(
    service: Service, receiver: WebhookReceiver, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    release = threading.Event()
    receiver.answer = lambda _request: Answer() if release.wait(20) else Answer(500)
    with TlsFront(receiver.port, authority.issue("127.0.0.1")) as front:
        cases = {
            f"http://127.0.0.1:{free_port()}/": "onnect",
            front.url("/hook"): "ertificate",
            f"https://127.0.0.1:{receiver.port}/": "TLS",
            receiver.url(): "imed out",
            "http://no-such-host.invalid/": "esolve",
        }
        jobs = {url: service.ended(url) for url in cases}
        options = replace(service.parts.options, timeout=1.0)
        assert service.deliver(options=options) == len(cases)
    release.set()
    for url, error in cases.items():
        (delivery,) = service.deliveries(jobs[url])
        assert delivery.state is PENDING
        assert error in (delivery.log[0].error or ""), (url, delivery.log)
        assert delivery.log[0].status is None


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "169.254.169.254", "0.0.0.0"])
def test_no_request_goes_to_an_address_that_downloads_may_not_use(
    service: Service, receiver: WebhookReceiver, host: str
) -> None:
    service.ended(f"http://{host}:{receiver.port}/hook")
    options = replace(service.parts.options, guard=AddressGuard())
    assert service.deliver(options=options) == 1
    (delivery,) = service.deliveries()
    assert "is not a public address" in (delivery.log[0].error or "")
    assert delivery.state is PENDING
    assert receiver.received == []


def test_a_proxy_is_used_and_gets_no_address_that_downloads_may_not_use(
    service: Service, receiver: WebhookReceiver
) -> None:
    options = replace(
        service.parts.options, guard=AddressGuard(), proxy=f"http://127.0.0.1:{receiver.port}"
    )
    public = service.ended("http://hooks.example.org/hook")
    private = service.ended("http://10.1.2.3/hook")
    assert service.deliver(options=options) == 2
    assert [one.path for one in receiver.received] == ["http://hooks.example.org/hook"]
    assert service.deliveries(public)[0].state is DELIVERED
    assert "not a public address" in (service.deliveries(private)[0].log[0].error or "")


def test_a_receiver_that_fails_for_an_hour_gets_everything_in_order(
    service: Service, receiver: WebhookReceiver
) -> None:
    receiver.answer = Answer(500)
    start = service.clock.now
    job = service.ended(receiver.url())
    service.deliver()
    service.clock.advance(1)
    service.end(service.move(job, _S.QUEUED), _S.COMPLETED)
    other = service.ended(receiver.url(), _S.CANCELLED)
    while service.clock.now - start < timedelta(hours=1):
        service.clock.advance(10)
        service.deliver()
    assert {event for event in receiver.events if event[0] == job.id} == {
        (job.id, "download.failed")
    }
    assert Counter(receiver.events) == {
        (job.id, "download.failed"): 4,
        (other.id, "download.cancelled"): 4,
    }
    receiver.received.clear()
    receiver.answer = Answer()
    while any(one.state is PENDING for one in service.deliveries()):
        service.clock.advance(600)
        service.deliver()
    assert [event for event in receiver.events if event[0] == job.id] == [
        (job.id, "download.failed"),
        (job.id, "download.completed"),
    ]


def test_a_delivery_is_given_up_visibly_and_can_be_sent_again(
    service: Service, receiver: WebhookReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.answer = Answer(500)
    job = service.ended(receiver.url())
    start = service.clock.now
    while service.deliveries()[0].state is PENDING:
        service.clock.now = service.deliveries()[0].next_attempt_at
        service.deliver()
    passed = (service.clock.now - start).total_seconds()
    assert sum(PAUSES) <= passed <= 1.2 * sum(PAUSES)
    (delivery,) = service.deliveries()
    assert (delivery.state, delivery.attempts) == (GIVEN_UP, MAX_ATTEMPTS)
    assert len({one.headers["webhook-id"] for one in receiver.received}) == 1
    text = f"did not get delivery {delivery.id} (failed) in 10 attempts: The receiver answered 500"
    assert text in caplog.text
    assert any(text in (event.reason or "") for event in service.runtime.jobs.events(job.id))
    assert service.deliver() == 0
    receiver.answer = Answer()
    service.outbox.send_again(delivery.id, service.clock.now)
    service.deliver()
    assert service.deliveries()[0].state is DELIVERED
    assert len({one.headers["webhook-id"] for one in receiver.received}) == 1


def test_the_present_webhook_of_the_owner_counts(
    service: Service, receiver: WebhookReceiver
) -> None:
    receivers = Receivers(service.runtime.database)
    receivers.set_url("ada", f"http://127.0.0.1:{free_port()}/", now=service.clock.now)
    service.ended(None, user_id="ada")
    service.deliver()
    receivers.set_url("ada", receiver.url(), now=service.clock.now)
    service.clock.advance(10)
    service.deliver()
    assert service.deliveries()[0].state is DELIVERED
    service.ended(None, user_id="ada")
    receivers.set_url("ada", None, now=service.clock.now)
    service.deliver()
    last = service.deliveries()[-1]
    assert last.state is GIVEN_UP
    assert "no webhook any more" in (last.log[0].error or "")


def test_a_slow_receiver_delays_only_its_own_deliveries(
    service: Service, receiver: WebhookReceiver
) -> None:
    is_slow, release = threading.Semaphore(0), threading.Event()

    def wait(_request: Received) -> Answer:
        is_slow.release()
        release.wait(20)
        return Answer()

    receiver.answer = wait
    for _ in range(2 * PER_HOST):
        service.ended(receiver.url())
    with WebhookReceiver() as quick, ThreadPoolExecutor() as pool:
        run = pool.submit(service.deliver, options=replace(service.parts.options, timeout=20.0))
        for _ in range(PER_HOST):
            assert is_slow.acquire(timeout=20)
        for _ in range(3 * PER_HOST):
            service.ended(quick.url())
        wait_until(lambda: len(quick.received) == 3 * PER_HOST, deadline=20, what="all arrive")
        assert len(receiver.received) == PER_HOST
        release.set()
        assert run.result(30) == 5 * PER_HOST


def test_two_dispatchers_at_once_make_each_delivery_once(
    any_service: Service, receiver: WebhookReceiver
) -> None:
    jobs = [any_service.ended(receiver.url()) for _ in range(60)]
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(Dispatcher(any_service.parts).run) for _ in range(2)]
        assert sum(run.result(60) for run in runs) == len(jobs)
    assert Counter(receiver.events) == Counter((job.id, "download.failed") for job in jobs)


def test_a_process_that_stops_gives_its_deliveries_back(
    service: Service, receiver: WebhookReceiver
) -> None:
    release = threading.Event()
    receiver.answer = lambda _request: Answer() if release.wait(20) else Answer(500)
    service.ended(receiver.url())
    assert service.deliver(is_stopping=lambda: bool(receiver.received)) == 0
    release.set()
    assert service.deliver() == 1
    assert service.deliveries()[0].state is DELIVERED


KILLED = """
import sys
from tests.support.services.system import client_runtime
from tasks.webhooks.background import deliver_due
import os
variables = {name: value for name, value in os.environ.items() if name.startswith("SEEN_")}
print(deliver_due(client_runtime(variables)))
"""


def test_a_killed_process_leaves_a_delivery_that_is_made_again(
    tmp_path: Path, service: Service, receiver: WebhookReceiver
) -> None:
    children: list[subprocess.Popen[bytes]] = []
    arrived = threading.Event()

    def kill(_request: Received) -> Answer:
        if not arrived.is_set():
            arrived.set()
            children[0].kill()
            children[0].wait()
        return Answer()

    receiver.answer = kill
    job = service.ended(receiver.url())
    database = service.runtime.settings.sqlalchemy_url()
    environment = {
        "PATH": "/usr/bin:/bin",
        "SEEN_DATABASE_URL": database,
        "SEEN_DATA_DIR": str(tmp_path),
        "SEEN_SECRET_KEY": service.runtime.settings.secret_keys[0],
        "SEEN_ALLOWED_NETWORKS": "127.0.0.0/8",
        "SEEN_CACHE_ADDR": service.runtime.settings.cache_addr,
    }
    root = Path(__file__).parents[3]
    children.append(
        subprocess.Popen(
            [sys.executable, "-c", KILLED], env=environment, cwd=root, stdout=subprocess.DEVNULL
        )
    )
    assert arrived.wait(60)
    assert children[0].wait(20) < 0
    (delivery,) = service.deliveries()
    assert (delivery.state, delivery.claims, delivery.attempts) == (PENDING, 1, 0)
    service.clock.now = delivery.next_attempt_at - timedelta(seconds=1)
    assert service.deliver() == 0  # its claim may still be at work
    service.clock.advance(LEASE)
    assert service.deliver() == 1
    assert receiver.events == [(job.id, "download.failed")] * 2
    assert len({one.headers["webhook-id"] for one in receiver.received}) == 1


def test_the_periodic_task_starts_one_thread(service: Service, receiver: WebhookReceiver) -> None:
    deliver_in_background(service.runtime)  # nothing is due
    service.ended(receiver.url())
    deliver_in_background(service.runtime)
    deliver_in_background(service.runtime)
    wait_until(
        lambda: service.deliveries()[0].state is DELIVERED, deadline=20, what="it is delivered"
    )
    assert len(receiver.received) == 1


def test_without_the_key_nothing_is_sent_unsigned(
    service: Service, receiver: WebhookReceiver
) -> None:
    service.parts.secrets.current("", service.clock.now)
    service.ended(receiver.url())
    other = replace(
        service.parts.secrets, cipher=type(service.parts.secrets.cipher)(("another key, not it",))
    )
    service.deliver(secrets=other)
    (delivery,) = service.deliveries()
    assert "cannot be decrypted" in (delivery.log[0].error or "")
    assert (delivery.state, receiver.received) == (PENDING, [])
