"""Disabled users: nothing is delivered to their webhooks, and that is to be seen."""

from __future__ import annotations

from pathlib import Path

import pytest

from database.webhooks import DeliveryState, Receivers, Target
from domain.access import Principal
from domain.access.errors import UserDisabledError
from tasks.api import accounts, webhooks
from tests.integration.webhooks.conftest import Service
from tests.support.servers.webhook_receiver import Answer, Received, WebhookReceiver

#: Whose end it is, whether its job has a webhook, and whether it is delivered while Ada is disabled.
WHILE_DISABLED = {
    "to the webhook of the user": ("ada", False, False),
    "to the webhook of a job of the user": ("ada", True, False),
    "of another user's job": ("eve", True, True),
    "of a job without owner": (None, True, True),
    "of an owner that is no user": ("batch", True, True),
    "of an owner whose name begins alike": ("ada2", True, True),
}


def test_nothing_is_delivered_to_a_disabled_user(
    any_service: Service, receiver: WebhookReceiver, tmp_path: Path
) -> None:
    """Neither what was pending nor what ends later. Others get theirs; a program gets all."""
    service, runtime, local = any_service, any_service.runtime, Principal.local()
    lines, program = tmp_path / "lines", tmp_path / "on_end"
    program.write_text(f'#!/bin/sh\necho "$SEEN_JOB_ID" >> {lines}\n')
    program.chmod(0o755)
    for name in ("ada", "eve"):
        accounts.add_user(local, name, "user", runtime=runtime)
    Receivers(runtime.database).set_url("ada", receiver.url("/user"), now=service.clock.now)
    receiver.answer = Answer(500)
    waiting = [service.ended(url, user_id="ada") for url in (None, receiver.url("/job"))]
    service.deliver()
    service.clock.advance(10)
    service.deliver()  # they are tried again in five minutes
    receiver.received.clear()
    receiver.answer = Answer()
    accounts.disable_user(local, "ada", runtime=runtime)
    Receivers(runtime.database).note_program(service.clock.now)
    jobs = {
        what: service.ended(receiver.url("/job") if is_own else None, user_id=owner)
        for what, (owner, is_own, _) in WHILE_DISABLED.items()
    }
    service.deliver(program=program)
    delivered = {job_id for job_id, _ in receiver.events}
    assert delivered == {jobs[what].id for what, case in WHILE_DISABLED.items() if case[2]}
    assert set(lines.read_text().split()) == {job.id for job in jobs.values()}
    for job in (*waiting, *(jobs[what] for what, case in WHILE_DISABLED.items() if not case[2])):
        found = [one for one in service.deliveries(job) if one.target is not Target.PROGRAM]
        assert {one.state for one in found} == {DeliveryState.GIVEN_UP}
        assert all("ada is disabled" in (one.log[-1].error or "") for one in found)
        events = runtime.jobs.events(job.id)
        assert any("ada is disabled" in (event.reason or "") for event in events)
    assert service.outbox.backlog() == 0


def test_an_enabled_user_gets_further_ends_and_earlier_ones_on_request(
    service: Service, receiver: WebhookReceiver
) -> None:
    runtime, local = service.runtime, Principal.local()
    accounts.add_user(local, "ada", "user", runtime=runtime)
    accounts.disable_user(local, "ada", runtime=runtime)
    earlier = service.ended(receiver.url(), user_id="ada")
    service.deliver()
    (delivery,) = service.deliveries(earlier)
    with pytest.raises(UserDisabledError):
        webhooks.send_again(local, delivery.id, runtime=runtime)
    assert service.deliver() == 0
    accounts.enable_user(local, "ada", runtime=runtime)
    later = service.ended(receiver.url(), user_id="ada")
    service.deliver()
    assert receiver.events == [(later.id, "download.failed")]
    webhooks.send_again(local, delivery.id, runtime=runtime)
    service.deliver()
    assert receiver.events[1:] == [(earlier.id, "download.failed")]


def test_a_delivery_under_way_is_recorded_though_its_user_is_disabled_meanwhile(
    service: Service, receiver: WebhookReceiver
) -> None:
    runtime, local = service.runtime, Principal.local()
    accounts.add_user(local, "ada", "user", runtime=runtime)

    def disable(_request: Received) -> Answer:
        accounts.disable_user(local, "ada", runtime=runtime)
        return Answer()

    receiver.answer = disable
    service.ended(receiver.url(), user_id="ada")
    service.deliver()
    (delivery,) = service.deliveries()
    assert (delivery.state, len(receiver.received)) == (DeliveryState.DELIVERED, 1)
