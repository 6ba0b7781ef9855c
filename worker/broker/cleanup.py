"""Removes what killed Celery processes leave in the broker: bindings, and queues that no process reads.

A killed worker leaves the binding of its mailbox, a killed Flower that of its event queue, a killed
`celery inspect` that of its reply queue. Replies that arrive later stay in that queue: only a
reader lets it expire. kombu removes a set of bindings that was not used for an hour, but the whole
set or nothing; one caller an hour keeps every entry in it.

**Bindings.** An entry has no time. So each entry is replaced by one with a time in its pattern, a
field that routing ignores here (only topic exchanges use it); messages still reach the queue. A
consumer that runs writes its entry again: a caller at each call, every other consumer after a third
of kombu's hour. So an entry with a time that is an hour old may be removed: either its consumer has
written a second one, which stays, or there is no consumer. No order of these steps loses a binding,
so no script is needed.

**Queues.** A queue of replies or events without a TTL gets one of an hour. A reader empties its
queue within milliseconds, and the TTL disappears with the empty queue.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

from celery import Celery

from worker.broker.queue_keys import wrong_types

#: Seconds after which an entry counts as unused. kombu keeps an unused set of bindings for as long,
#: and writes entries of running consumers every 20 minutes (`kombu.transport.redis.MIN_BINDING_TTL`).
UNUSED_AFTER = 3600

#: Keys, entries or messages of one round trip, and round trips of one kind in one sweep. The next sweep
#: goes on from there.
_STEP, _STEPS = 500, 200

#: Routing key, pattern, queue.
_Entry = tuple[str, ...]

_MARK = "idle-since:"
_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"


class Swept(NamedTuple):
    """What one sweep found."""

    queues: int
    """Queues without a TTL, which have one now."""
    bindings: int
    """Bindings without a consumer, which were removed."""


class BrokerSweep:
    """Sweeps the broker's database of one app; each sweep goes on where the last one stopped."""

    def __init__(self, app: Celery, *, unused_after: int = UNUSED_AFTER) -> None:
        self._app = app
        self._unused_after = unused_after
        self._cursor = 0

    def run(self, channel: Any) -> Swept:
        """Sweep through one of kombu's Redis channels."""
        client, now = channel.client, int(channel.client.time()[0])
        control: Any = self._app.control  # its stub lacks the mailbox
        mailbox = control.mailbox
        events = self._app.conf.event_exchange
        replies = mailbox.reply_exchange.name
        queues = self._limit_queues(client, _matcher(replies, events, channel.sep))
        tables = {
            channel.keyprefix_queue % name: name
            for name in (replies, mailbox.exchange.name, events)
        }
        foreign = wrong_types(client, tables, "set")  # `seen doctor` names these
        bindings = sum(
            _Bindings(channel, name).sweep(now, self._unused_after)
            for key, name in tables.items()
            if key not in foreign
        )
        return Swept(queues, bindings)

    def _limit_queues(self, client: Any, is_meant: Callable[[str], object]) -> int:
        limited = 0
        for _ in range(_STEPS):
            self._cursor, keys = client.scan(self._cursor, count=_STEP)
            limited += self._limit(client, [key for key in keys if is_meant(key.decode("latin-1"))])
            if not self._cursor:
                break
        return limited

    def _limit(self, client: Any, keys: Sequence[bytes]) -> int:
        """Give a TTL to those of the queues that have none; return how many."""
        ttls = _pipelined(client, (("TTL", key) for key in keys))
        unlimited = [key for key, ttl in zip(keys, ttls, strict=True) if ttl == -1]
        return sum(_pipelined(client, (("EXPIRE", key, self._unused_after) for key in unlimited)))


class _Bindings:
    """The bindings of one exchange: a set of entries (routing key, pattern, queue)."""

    def __init__(self, channel: Any, exchange: str) -> None:
        self._client = channel.client
        self._sep = channel.sep
        self._key = channel.keyprefix_queue % exchange
        # Bindings of queues that do not expire: kombu does not write these again.
        self._permanent = channel.keyprefix_binding_permanent % exchange

    def sweep(self, now: int, unused_after: int) -> int:
        """Mark new entries, and remove those marked long ago; return how many had no consumer."""
        plain, marked = self._read()
        old = {entry for entry, since in marked.items() if since <= now - unused_after}
        recent = {_unmarked(entry) for entry in marked.keys() - old}
        self._remove(old)
        self._mark([entry for entry in plain if entry not in recent], now)
        return len({_unmarked(entry) for entry in old} - plain)

    def _read(self) -> tuple[set[_Entry], dict[_Entry, int]]:
        """Return the entries without a mark, and those with one by its time."""
        plain: set[_Entry] = set()
        marked: dict[_Entry, int] = {}
        for member in islice(self._client.sscan_iter(self._key, count=_STEP), _STEP * _STEPS):
            text = member.decode("utf-8", "replace")
            entry = tuple(text.split(self._sep))
            if len(entry) != 3 or "\ufffd" in text:
                continue
            since = entry[1].removeprefix(_MARK)
            if entry[1] == "":
                plain.add(entry)
            elif since != entry[1] and since.isdecimal():
                marked[entry] = int(since)
        return plain, marked

    def _mark(self, entries: Sequence[_Entry], now: int) -> None:
        members = [self._sep.join(entry) for entry in entries]
        permanent = _pipelined(self._client, (("SISMEMBER", self._permanent, m) for m in members))
        commands: list[tuple[Any, ...]] = []
        for (routing_key, _, queue), member, is_permanent in zip(
            entries, members, permanent, strict=True
        ):
            if not is_permanent:
                marked = self._sep.join((routing_key, f"{_MARK}{now}", queue))
                # In this order, so that the queue is bound at every moment.
                commands += [("SADD", self._key, marked), ("SREM", self._key, member)]
        _pipelined(self._client, commands)

    def _remove(self, entries: Iterable[_Entry]) -> None:
        members = (self._sep.join(entry) for entry in entries)
        _pipelined(self._client, (("SREM", self._key, member) for member in members))


def _unmarked(entry: _Entry) -> _Entry:
    return entry[0], "", entry[2]


def _matcher(replies: str, events: str, sep: str) -> Callable[[str], object]:
    """Return a test for names of queues of replies and events; each such queue has one reader."""
    priority = f"(?:{re.escape(sep)}[0-9])?"
    names = f"{_UUID}\\.{re.escape(replies)}|{re.escape(events)}\\.{_UUID}"
    return re.compile(f"(?:{names}){priority}").fullmatch


def _pipelined(client: Any, commands: Iterable[tuple[Any, ...]]) -> list[Any]:
    """Send commands in steps and return the replies in order."""
    replies: list[Any] = []
    for some in _steps(commands):
        with client.pipeline(transaction=False) as pipe:
            for command in some:
                pipe.execute_command(*command)
            replies += pipe.execute()
    return replies


def _steps(commands: Iterable[tuple[Any, ...]]) -> Iterator[list[tuple[Any, ...]]]:
    rest = iter(commands)
    while some := list(islice(rest, _STEP)):
        yield some
