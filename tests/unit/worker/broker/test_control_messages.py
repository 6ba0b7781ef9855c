"""Which of Celery's own messages are handed on to it: commands, replies and events."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.inputs.control_forgeries import (
    FORGED_COMMANDS,
    FORGED_EVENTS,
    FORGED_REPLIES,
    GENUINE_COMMANDS,
    event,
    message,
)
from tests.support.inputs.malformed_messages import raw
from worker.broker.control_messages import read_command, read_events, read_reply
from worker.broker.envelope import InvalidMessageError

FORGED: list[tuple[Callable[[bytes], Any], bytes]] = [
    *((read_command, one) for one in FORGED_COMMANDS.values()),
    *((read_reply, one) for one in FORGED_REPLIES.values()),
    *((read_events, one) for one in FORGED_EVENTS.values()),
]
NAMES = [*FORGED_COMMANDS, *FORGED_REPLIES, *FORGED_EVENTS]


@pytest.mark.parametrize(("read", "forged"), FORGED, ids=NAMES)
def test_forged_message_is_refused(read: Callable[[bytes], Any], forged: bytes) -> None:
    with pytest.raises(InvalidMessageError):
        read(forged)


@pytest.mark.parametrize("name", GENUINE_COMMANDS)
def test_genuine_command_is_handed_on_with_its_body(name: str) -> None:
    genuine = json.loads(GENUINE_COMMANDS[name])
    read = read_command(GENUINE_COMMANDS[name])
    assert read["body"] == genuine["body"]
    assert read["headers"].keys() == {"clock", "expires", "ticket"}
    assert 0 <= read["headers"]["clock"] <= 2**53


def test_genuine_reply_and_events_are_handed_on() -> None:
    reply = message({"downloads@here": {"ok": "pong"}}, ticket="t")
    assert read_reply(raw(reply))["headers"]["ticket"] == "t"
    for body in (event(), [event(), event(type="task-received", uuid="u")]):
        assert read_events(raw(message(body)))["body"] == message(body)["body"]
