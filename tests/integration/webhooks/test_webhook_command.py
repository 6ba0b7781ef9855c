"""`seen webhook` and the functions behind it: who may do what, and what is printed."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from cli import main as main_module
from cli.commands.accounts import webhook as webhook_module
from database.webhooks import DeliveryState
from domain.access import ALL_SCOPES, Kind, Principal, Role
from domain.errors import ForbiddenError, InvalidInputError, SeenError
from domain.request import DownloadRequest
from tasks.api import webhooks
from tasks.api.submit import submit
from tests.integration.webhooks.conftest import Service
from tests.support.build import unused_url
from tests.support.servers.webhook_receiver import Answer, WebhookReceiver
from worker.webhooks.signatures import signature

Seen = Callable[..., Any]


@pytest.fixture
def seen(
    service: Service, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Seen:
    """Runs a command, and returns what it prints; with --json the value; of a failure the error."""
    monkeypatch.setattr(webhook_module, "open_runtime", lambda: service.runtime)

    def run(*arguments: str, status: int = 0) -> Any:
        assert main_module.run(["webhook", *arguments]) == status
        out, err = capsys.readouterr()
        if "--json" in arguments:
            return json.loads(out)
        return out if status == 0 else err

    return run


def test_a_webhook_from_its_setting_to_its_end(
    service: Service, receiver: WebhookReceiver, seen: Seen
) -> None:
    where = f"http://127.0.0.1:{receiver.port}/…"
    assert seen("show") == "Ends of jobs without owner are not delivered.\n"
    assert seen("set", receiver.url("/key"), "--owner", "ada") == (
        f"Ends of jobs of ada are delivered to {where}.\n"
    )
    assert seen("show", "--owner", "ada", "--json") == {"owner": "ada", "url": where}
    secret = seen("secret", "--owner", "ada").strip()
    receiver.answer = Answer(410)
    job = service.ended(None, user_id="ada")
    service.deliver()
    (request,) = receiver.received
    headers = request.headers
    expected = signature(
        secret, headers["webhook-id"], int(headers["webhook-timestamp"]), request.body
    )
    assert headers["webhook-signature"] == expected
    (shown,) = seen("deliveries", "--failed", "--json")
    assert (shown["job_id"], shown["state"], shown["target"]) == (job.id, "given_up", "user")
    assert shown["attempts"][0]["status"] == 410
    assert "410" in seen("deliveries", "--failed")
    assert seen("deliveries", "--pending") == "There are no such deliveries.\n"
    receiver.answer = Answer()
    assert seen("redeliver", str(shown["id"])) == "1 to be sent again\n"
    service.deliver()
    assert seen("deliveries", "--json")[0]["state"] == "delivered"
    renewed = seen("secret", "--new", "--owner", "ada", "--json")["secret"]
    assert renewed != secret
    assert "are not delivered" in seen("clear", "--owner", "ada")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["set", "ftp://example.org/x"], "http://"),
        (["set", "https://ada:pw@example.org/x"], "no user name and password"),
        (["set", "example.org/x"], "must begin"),
        (["set", "https://example.org/" + "x" * 9000], "8000"),
        (["redeliver", "12345"], "seen webhook deliveries"),
        (["deliveries", "--limit", "0"], "1 to 500"),
    ],
)
def test_wrong_arguments_write_nothing(seen: Seen, arguments: list[str], problem: str) -> None:
    error = seen(*arguments, status=2)
    assert problem in error
    assert "pw" not in error
    assert "are not delivered" in seen("show")


def user(name: str, role: Role = Role.USER) -> Principal:
    return Principal(user_id=name, role=role, scopes=ALL_SCOPES, kind=Kind.KEY)


def test_who_may_do_what(service: Service, receiver: WebhookReceiver) -> None:
    runtime = service.runtime
    service.ended(receiver.url(), user_id="ada")
    (delivery,) = service.deliveries()
    ada, bob, viewer = user("ada"), user("bob"), user("eve", Role.VIEWER)
    assert webhooks.list_deliveries(bob, runtime=runtime) == []
    assert len(webhooks.list_deliveries(ada, runtime=runtime)) == 1
    assert len(webhooks.list_deliveries(viewer, runtime=runtime)) == 1
    foreign = _refused(partial(webhooks.delivery, bob, delivery.id, runtime=runtime))
    unknown = _refused(partial(webhooks.delivery, bob, delivery.id + 1, runtime=runtime))
    assert foreign.replace(str(delivery.id), "N") == unknown.replace(str(delivery.id + 1), "N")
    _refused(partial(webhooks.send_again, bob, delivery.id, runtime=runtime))
    webhooks.send_again(ada, delivery.id, runtime=runtime)
    forbidden: list[Callable[[], object]] = [
        partial(webhooks.send_again, viewer, delivery.id, runtime=runtime),
        partial(webhooks.secret_of, viewer, "eve", runtime=runtime),
        partial(webhooks.set_webhook, viewer, "eve", None, runtime=runtime),
    ]
    for name in ("bob", None):
        forbidden += [
            partial(webhooks.set_webhook, ada, name, receiver.url(), runtime=runtime),
            partial(webhooks.webhook_of, ada, name, runtime=runtime),
            partial(webhooks.secret_of, ada, name, runtime=runtime),
        ]
    for work in forbidden:
        with pytest.raises(ForbiddenError):
            work()
    webhooks.set_webhook(ada, "ada", receiver.url(), runtime=runtime)
    webhooks.set_webhook(Principal.local(), None, receiver.url(), runtime=runtime)


def _refused(work: Callable[[], object]) -> str:
    with pytest.raises(SeenError) as refused:
        work()
    assert refused.value.code == "unknown_delivery"
    return str(refused.value)


def test_a_request_with_a_webhook(service: Service, receiver: WebhookReceiver) -> None:
    url = unused_url()
    first = submit(DownloadRequest(url=url, webhook=receiver.url("#x")), runtime=service.runtime)
    same = submit(DownloadRequest(url=url, webhook=receiver.url()), runtime=service.runtime)
    other = submit(DownloadRequest(url=url, webhook=receiver.url("/b")), runtime=service.runtime)
    assert first.webhook == receiver.url("")
    assert (same.is_new, other.is_new) == (True, True)
    again = submit(DownloadRequest(url=url, webhook=receiver.url()), runtime=service.runtime)
    assert (again.id, again.is_new) == (same.id, False)
    assert receiver.url() not in repr(DownloadRequest(url=url, webhook=receiver.url()))
    service.clock.advance(timedelta(seconds=1))
    assert service.outbox.find(state=DeliveryState.PENDING) == []


@pytest.mark.parametrize(
    "webhook", ["ftp://example.org/x", "https://a:secret@example.org/", "secret", "", 5, ["x"]]
)
def test_a_wrong_webhook_is_refused_and_not_shown(webhook: object) -> None:
    with pytest.raises(InvalidInputError) as refused:
        DownloadRequest.model_validate({"url": unused_url(), "webhook": webhook})
    assert refused.value.field == "webhook"
    assert "secret" not in str(refused.value)
