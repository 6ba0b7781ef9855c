"""Readers of events and of replies survive forged ones: Flower, `seen doctor`, health checks."""

from __future__ import annotations

import threading
from typing import Any

from tests.support.inputs.control_forgeries import FORGED_EVENTS, FORGED_REPLIES, event, message
from tests.support.inputs.malformed_messages import raw
from tests.support.services.system import System
from tests.support.wait import wait_until
from worker.broker.dead_letters import KEY

TOPIC = "/1.celeryev/worker.heartbeat"


def test_receiver_of_events_goes_on_after_forged_ones(system: System) -> None:
    client: Any = system.store.client(db=1)
    received: list[dict[str, Any]] = []
    with system.app.connection_for_read() as connection:
        receiver = system.app.events.Receiver(connection, handlers={"*": received.append})
        capture = threading.Thread(target=receiver.capture, kwargs={"wakeup": False}, daemon=True)
        capture.start()
        wait_until(lambda: client.pubsub_numpat(), deadline=30, what="it listens")
        for forged in FORGED_EVENTS.values():
            client.publish(TOPIC, forged)
        client.publish(TOPIC, raw(message(event(hostname="genuine@here"))))

        wait_until(lambda: received, deadline=30, what="the genuine one is received")
        assert [one["hostname"] for one in received] == ["genuine@here"]
        assert client.llen(KEY) == len(FORGED_EVENTS)
        receiver.should_stop = True
        capture.join(30)


def test_caller_of_commands_goes_on_after_forged_replies(system: System) -> None:
    client: Any = system.store.client(db=1)
    control: Any = system.app.control
    queue = control.mailbox.reply_queue.name
    client.lpush(queue, *FORGED_REPLIES.values())
    # A connection of its own: one of the app's pool may be older than the store.
    with system.app.connection_for_write() as connection:
        answers = control.broadcast("ping", reply=True, timeout=2, connection=connection)
    assert answers == []
    assert client.llen(KEY) == len(FORGED_REPLIES)
    assert not client.llen(queue)
