"""The dead-letter list: messages that no worker could read, kept for a person.

It is one list in the broker's database, newest first, bounded in entries and in bytes an entry. Nothing
in it is delivered again: the job of a message has its row in SQL, and is published again from there.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, NamedTuple

from domain.text import escaped

KEY = "seen:dead-letters"
#: Entries that are kept; the oldest ones go first.
MAX_ENTRIES = 200
#: Bytes of a message that an entry keeps, and characters of its other fields.
MAX_BYTES, MAX_FIELD = 2_048, 300


class DeadLetter(NamedTuple):
    """One refused message. All text in it is escaped."""

    at: datetime | None
    """When it was refused; None in an entry that this version cannot read."""
    queue: str
    """The queue, or the exchange of a broadcast, that it came from."""
    reason: str
    size: int
    """Bytes of the whole message."""
    message: str
    """Its first `MAX_BYTES` bytes."""

    def as_json(self) -> dict[str, object]:
        """Return it as programs read it."""
        return {**self._asdict(), "at": self.at and self.at.isoformat()}


def dead_letter(queue: str, reason: str, raw: bytes) -> DeadLetter:
    """Describe a message that is refused now."""
    return DeadLetter(
        at=datetime.now(UTC),
        queue=escaped(queue, MAX_FIELD),
        reason=escaped(reason, MAX_FIELD),
        size=len(raw),
        message=escaped(raw[:MAX_BYTES].decode("utf-8", "backslashreplace")),
    )


def add(client: Any, letter: DeadLetter) -> None:
    """Add a dead letter as the newest. Raises redis-py's errors."""
    with client.pipeline(transaction=False) as pipe:
        pipe.lpush(KEY, json.dumps(letter.as_json()))
        pipe.ltrim(KEY, 0, MAX_ENTRIES - 1)
        pipe.execute()


def read(client: Any, limit: int = MAX_ENTRIES) -> list[DeadLetter]:
    """Return the newest entries, the newest first."""
    return [_parse(raw) for raw in client.lrange(KEY, 0, min(limit, MAX_ENTRIES) - 1)]


def count(client: Any) -> int:
    """Return how many entries there are."""
    return int(client.llen(KEY))


def clear(client: Any) -> int:
    """Remove every entry, whatever the key holds; return how many there were."""
    removed = count(client) if client.type(KEY) == b"list" else 0
    client.delete(KEY)
    return removed


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError("no offset")
    return time.astimezone(UTC)


def _parse(raw: bytes) -> DeadLetter:
    """Read one entry. Nothing in it is trusted: another program may have written it."""
    try:
        fields = json.loads(raw)
        return DeadLetter(
            at=_time(fields["at"]),
            queue=escaped(str(fields["queue"]), MAX_FIELD),
            reason=escaped(str(fields["reason"]), MAX_FIELD),
            size=int(fields["size"]),
            # Each byte of a message may have become an escape of four characters, or of six.
            message=escaped(str(fields["message"]), 6 * MAX_BYTES),
        )
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        text = raw[:MAX_BYTES].decode("utf-8", "backslashreplace")
        return DeadLetter(None, "", "this entry cannot be read", len(raw), escaped(text))
