"""`seen dead-letters` and `seen doctor`: what was refused, and keys that hold no list."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.services.seen import Seen
from tests.support.stores.server import StoreServer
from worker.broker import dead_letters
from worker.broker.dead_letters import KEY, MAX_BYTES, MAX_ENTRIES, dead_letter

#: Many commands one after the other, each of which loads a Python: on a busy machine they take long.
pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def seen(tmp_path: Path, store: StoreServer) -> Iterator[Seen]:
    settings = {"SEEN_CACHE_ADDR": store.addr, "SEEN_CACHE_PASSWORD": store.password}
    with Seen(tmp_path, **settings) as person:
        yield person


@pytest.fixture
def client(store: StoreServer) -> Any:
    """One of the broker's database."""
    return store.client(db=1)


def finding(seen: Seen, check: str) -> dict[str, str] | None:
    found = seen.run("doctor", "--json").json()
    return next((one for one in found if one["check"] == check), None)


def test_refused_messages_are_listed_and_cleared(seen: Seen, client: Any) -> None:
    assert seen.good("dead-letters", "list").out == "There are no dead letters.\n"
    assert seen.good("dead-letters", "list", "--json").json() == []
    healthy = finding(seen, "dead letters")
    assert healthy is not None
    assert healthy["level"] == "ok"
    for number in range(2):
        letter = dead_letter("downloads.high", f"reason {number}", b"\x1b[31m\xff" + bytes(5_000))
        dead_letters.add(client, letter)

    shown = seen.good("dead-letters", "list").out
    assert shown.index("reason 1") < shown.index("reason 0")
    assert r"\x1b[31m\xff\x00" in shown
    assert all(line.isprintable() for line in shown.splitlines())
    (newest, _) = seen.good("dead-letters", "list", "--json").json()
    assert newest.keys() == {"at", "queue", "reason", "size", "message"}
    assert (newest["queue"], newest["reason"]) == ("downloads.high", "reason 1")
    assert newest["size"] == 5_006
    assert len(newest["message"]) <= 6 * MAX_BYTES
    found = finding(seen, "dead letters")
    assert found is not None
    assert found["level"] == "warning"
    assert "2 refused" in found["message"]
    assert "downloads.high: reason 1" in found["message"]

    assert seen.good("dead-letters", "clear").out == "2 removed\n"
    assert seen.good("dead-letters", "clear", "--json").json() == {"removed": 0}
    assert not client.exists(KEY)


def test_list_is_bounded(client: Any) -> None:
    for number in range(MAX_ENTRIES + 10):
        dead_letters.add(client, dead_letter("downloads.low", str(number), b"x" * 100_000))
    assert dead_letters.count(client) == MAX_ENTRIES
    assert dead_letters.read(client)[0].reason == str(MAX_ENTRIES + 9)
    assert all(len(entry) < 3 * MAX_BYTES for entry in client.lrange(KEY, 0, -1))


FORGED_ENTRIES = (
    b"junk",
    b"null",
    b"\xff\x1b[31m",
    b"[" * 100_000,
    b'{"at": 1}',
    b'{"at": "2026-03-01T12:00:00+00:00", "queue": "\\u001b[2J", "reason": "\\n"}',
    b'{"at": "9999-12-31T23:59:59-12:00", "queue": "", "reason": "", "size": 0, "message": ""}',
    b'{"at": "2026-03-01T12:00:00", "queue": [], "reason": {}, "size": 1, "message": "\\u202e"}',
    b'{"at": "2026-03-01T12:00:00Z", "queue": [], "reason": {}, "size": 1, "message": "\\u202e"}',
)


@pytest.mark.parametrize("entry", FORGED_ENTRIES)
def test_forged_entry_is_read_harmlessly(client: Any, entry: bytes) -> None:
    client.lpush(KEY, entry)
    (letter,) = dead_letters.read(client)
    assert all(text.isprintable() for text in (letter.queue, letter.reason, letter.message))
    assert letter.at is None or letter.at.tzinfo is not None
    assert len(letter.message) <= 6 * MAX_BYTES + 100


def test_forged_entries_are_shown_and_cleared(seen: Seen, client: Any) -> None:
    client.lpush(KEY, *FORGED_ENTRIES)
    shown = seen.good("dead-letters", "list").out
    assert all(line.isprintable() for line in shown.splitlines())
    assert len(seen.good("dead-letters", "list", "--json").json()) == len(FORGED_ENTRIES)
    assert finding(seen, "dead letters") is not None
    assert seen.good("dead-letters", "clear").out == f"{len(FORGED_ENTRIES)} removed\n"


def test_key_of_another_type_is_named(seen: Seen, client: Any) -> None:
    client.set("downloads.normal", "x")
    client.set(KEY, "x")
    found = [one for one in seen.run("doctor", "--json").json() if one["check"] == "broker keys"]
    assert {one["level"] for one in found} == {"problem"}
    assert {one["message"].split()[0] for one in found} == {"downloads.normal", KEY}
    refused = seen.run("dead-letters", "list")
    assert refused.status != 0
    assert "has another type" in refused.error_line()
    assert seen.good("dead-letters", "clear").out == "0 removed\n"
    assert seen.good("dead-letters", "list").out == "There are no dead letters.\n"
