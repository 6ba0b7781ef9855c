"""What Celery leaves in the broker when its processes are killed, and how we know that nobody needs it.

A killed `inspect` leaves its reply queue's binding, and answers that come late lie in that queue for
ever: the 10 seconds after which kombu lets it expire are set by its reader, and there is none any more.
A killed worker leaves the binding of its mailbox, a killed Flower that of its event queue. kombu itself
removes a table of bindings that nobody has used for an hour, but the whole of it or nothing: one caller
a minute, such as a health check, keeps every entry that was ever left. And a worker reads the table of
replies as a whole for each reply.

**Bindings.** An entry does not say how old it is. So one that we find is replaced by the same entry with
a mark, in a field that routing does not look at (a pattern, which only topic exchanges have): messages
go on to the same queue. Whoever lives writes the entry anew: a caller at each call, and every consumer
while it waits, a third of kombu's hour after the last time. A mark that has stood for an hour may
therefore go: either its consumer has written the entry itself, and that one stays, or there is no
consumer. Nothing depends on who comes first, so this needs no script.

**Queues.** What lies in a queue of replies or events for an hour is read by nobody. So a queue without
an end is given one, in an hour. A reader takes what is there within milliseconds, and an empty queue is
no key: its end goes with it.

**The book of unacknowledged messages** was kept by an earlier version of ours (see `celeryconfig`), and
nobody looks into it any more. Messages for our own queues that have been in it for twice the time after
which a worker of that version would have given them back are taken out; SQL knows the jobs they named.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

from celery import Celery

from worker.broker.queue_keys import wrong_types

#: How long nobody must have been heard of. Seconds. kombu keeps a table that is not renewed as long, and
#: renews it every twenty minutes (`kombu.transport.redis.MIN_BINDING_TTL`).
PATIENCE = 3600

#: Keys, entries or messages of one round trip; and round trips of one kind in one sweep. What is left
#: comes with the next sweep.
_STEP, _STEPS = 500, 200

#: Routing key, pattern, queue.
_Entry = tuple[str, ...]

_MARK = "idle-since:"
_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"


class Swept(NamedTuple):
    """What one sweep found and put to an end."""

    queues: int
    """Queues that had none to read them, and will be gone within `PATIENCE`."""
    bindings: int
    """Bindings whose consumers are gone."""
    unacked: int
    """Messages in the old book of unacknowledged ones."""


class BrokerSweep:
    """Sweeps the database of one app's broker, each time on from where it stopped."""

    def __init__(self, app: Celery, *, patience: int = PATIENCE) -> None:
        self._app = app
        self._patience = patience
        self._cursor = 0

    def run(self, channel: Any) -> Swept:
        """Sweep through one of kombu's Redis channels."""
        client, now = channel.client, int(channel.client.time()[0])
        control: Any = self._app.control  # its stub lacks the mailbox
        mailbox = control.mailbox
        events = self._app.conf.event_exchange
        replies = mailbox.reply_exchange.name
        queues = self._end_queues(client, _queue_names(replies, events, channel.sep))
        tables = {
            channel.keyprefix_queue % name: name
            for name in (replies, mailbox.exchange.name, events)
        }
        foreign = wrong_types(client, tables, "set")  # `seen doctor` names these
        bindings = sum(
            _Table(channel, name).sweep(now, self._patience)
            for key, name in tables.items()
            if key not in foreign
        )
        # By their first words: a queue of an earlier version may have had another ending.
        ours = {queue.name.partition(".")[0] for queue in self._app.conf.task_queues}
        return Swept(queues, bindings, _forget_unacked(channel, ours, now))

    def _end_queues(self, client: Any, is_meant: Callable[[str], object]) -> int:
        ended = 0
        for _ in range(_STEPS):
            self._cursor, keys = client.scan(self._cursor, count=_STEP)
            ended += self._end(client, [key for key in keys if is_meant(key.decode("latin-1"))])
            if not self._cursor:
                break
        return ended

    def _end(self, client: Any, keys: Sequence[bytes]) -> int:
        lives = _pipelined(client, (("TTL", key) for key in keys))
        endless = [key for key, life in zip(keys, lives, strict=True) if life == -1]
        return sum(_pipelined(client, (("EXPIRE", key, self._patience) for key in endless)))


class _Table:
    """The bindings of one exchange: a set of entries (routing key, pattern, queue)."""

    def __init__(self, channel: Any, exchange: str) -> None:
        self._client = channel.client
        self._sep = channel.sep
        self._key = channel.keyprefix_queue % exchange
        # Bindings of queues that do not expire: kombu does not renew these.
        self._lasting = channel.keyprefix_binding_permanent % exchange

    def sweep(self, now: int, patience: int) -> int:
        """Mark what bears no mark yet, and remove what has borne one for long; return how many died."""
        plain, marked = self._read()
        old = {entry for entry, since in marked.items() if since <= now - patience}
        young = {_unmarked(entry) for entry in marked.keys() - old}
        self._remove(old)
        self._mark([entry for entry in plain if entry not in young], now)
        return len({_unmarked(entry) for entry in old} - plain)

    def _read(self) -> tuple[set[_Entry], dict[_Entry, int]]:
        """Return entries without a mark, and those with one by its time."""
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
        lasting = _pipelined(self._client, (("SISMEMBER", self._lasting, m) for m in members))
        commands: list[tuple[Any, ...]] = []
        for (routing_key, _, queue), member, lasts in zip(entries, members, lasting, strict=True):
            if not lasts:
                marked = self._sep.join((routing_key, f"{_MARK}{now}", queue))
                # In this order, so that there is a way to the queue at every moment.
                commands += [("SADD", self._key, marked), ("SREM", self._key, member)]
        _pipelined(self._client, commands)

    def _remove(self, entries: Iterable[_Entry]) -> None:
        members = (self._sep.join(entry) for entry in entries)
        _pipelined(self._client, (("SREM", self._key, member) for member in members))


def _unmarked(entry: _Entry) -> _Entry:
    return entry[0], "", entry[2]


def _queue_names(replies: str, events: str, sep: str) -> Callable[[str], object]:
    """Return what knows the names of queues that one process reads and whose loss nobody mourns."""
    priority = f"(?:{re.escape(sep)}[0-9])?"
    names = f"{_UUID}\\.{re.escape(replies)}|{re.escape(events)}\\.{_UUID}"
    return re.compile(f"(?:{names}){priority}").fullmatch


def _forget_unacked(channel: Any, ours: set[str], now: int) -> int:
    """Take our own messages out of the book of unacknowledged ones; those of others stay."""
    client = channel.client
    if wrong_types(client, [channel.unacked_index_key], "zset") or wrong_types(
        client, [channel.unacked_key], "hash"
    ):
        return 0
    horizon = now - 2 * channel.visibility_timeout
    tags = client.zrangebyscore(channel.unacked_index_key, "-inf", horizon, 0, _STEP)
    if not tags:
        return 0
    raw = client.hmget(channel.unacked_key, tags)
    gone = [tag for tag, text in zip(tags, raw, strict=True) if text is None or _is_for(text, ours)]
    if gone:
        client.hdel(channel.unacked_key, *gone)
        client.zrem(channel.unacked_index_key, *gone)
    return len(gone)


def _is_for(raw: bytes, queues: set[str]) -> bool:
    """Say whether a message in the book, ``[message, exchange, routing key]``, went to one of these."""
    try:
        _, _, routing_key = json.loads(raw)
    except (ValueError, TypeError, RecursionError):
        return False
    return str(routing_key).partition(".")[0] in queues


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
