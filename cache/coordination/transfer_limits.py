"""Limits that all workers share: slots, cooldowns of hosts, bytes per second.

A *resource* has slots: ``connections:<host>``, ``downloads:<host>``, ``user:<id>``, ``total:downloads``.
A *scope* has a rate: ``total``, ``host:<host>``, ``job:<id>``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from cache import arguments
from cache import ttl as ttls
from cache.arguments import Duration
from cache.coordination.limit_models import Cooldown, Demand, SlotDecision, SlotRequest, Slots
from cache.keys import KeyBuilder
from cache.store import scripts
from cache.store.flow import Argument, Batch, Command, Flow
from cache.store.operation import Operations, S, operation
from domain.errors import InvalidInputError
from domain.limits import check_downloads, check_rate

#: The largest number of slots of one resource.
MAX_SLOTS = 2**31
#: A longer reason is truncated to this many characters.
MAX_REASON = 200

#: Places in the line for one resource at most. Who has none tries again later.
MAX_PLACES = 100
#: How long a place is kept for a member that does not try again; it does so several times a second.
_PLACE = 2.0
#: How long a free slot is kept for a member in the line that does not come. Seconds.
_PATIENCE = 1.0

#: The field of the limits' hash with the number of downloads; others are scopes of rates.
_DOWNLOADS = "downloads"

#: The slots of one member, and their expiry in milliseconds since the epoch.
_SLOTS = re.compile(rb"(\d{1,10}) (\d{1,15})")


class TransferLimits(Operations[S]):
    """Slots, cooldowns and rates in the store. On an `AsyncStore` every method is a coroutine.

    All methods raise StoreUnavailableError if the store does not answer. All are idempotent.
    """

    def __init__(self, store: S, keys: KeyBuilder) -> None:
        super().__init__(store)
        self._keys = keys

    # ── slots ────────────────────────────────────────────────────────────────────────────────────

    @operation
    def take_slots(
        self, resource: str, member: str, want: int, limit: int, ttl: Duration = ttls.SLOTS
    ) -> Flow[Slots]:
        """Set how many slots of a resource a member holds; return how many were granted.

        It gets as many of the wanted slots as are free, and as none waits for. To hold fewer is always
        granted. Slots that are not renewed expire after `ttl` seconds.
        """
        request = SlotRequest(resource, want, limit)
        granted, used, *_ = yield from scripts.run(
            "slots_take", *_take_arguments(self._keys, request, member, ttl, None)
        )
        return Slots(granted, used)

    @operation
    def renew_slots(
        self, holdings: Sequence[tuple[str, str]], ttl: Duration = ttls.SLOTS
    ) -> Flow[list[int]]:
        """Renew (resource, member) pairs in one round trip; return how many slots each holds.

        It is 0 for a pair whose slots have expired; renewing does not restore them.
        """
        ttl_ms = _milliseconds("ttl", ttl)
        commands = [
            scripts.call("slots_renew", self._keys.slots_key(resource), member, ttl_ms)
            for resource, member in _holdings(holdings)
        ]
        replies = yield from scripts.run_pipeline(["slots_renew"], commands, keep_reply_errors=True)
        return [reply if isinstance(reply, int) else 0 for reply in replies]

    @operation
    def release_slots(self, holdings: Sequence[tuple[str, str]]) -> Flow[None]:
        """Release all slots of (resource, member) pairs in one round trip."""
        holdings = _holdings(holdings)
        if holdings:
            yield Batch(*self._release_commands(holdings))

    @operation
    def slots(self, resource: str) -> Flow[dict[str, int]]:
        """Return the number of slots of a resource by member."""
        raw, (seconds, micro) = yield Batch(("HGETALL", self._keys.slots_key(resource)), ("TIME",))
        now = int(seconds) * 1000 + int(micro) // 1000
        held = {}
        for member, value in zip(raw[::2], raw[1::2], strict=True):
            entry = _SLOTS.fullmatch(value)  # another program may have written something else
            if entry is not None and int(entry[2]) > now:
                held[member.decode(errors="replace")] = int(entry[1])
        return held

    # ── cooldowns ────────────────────────────────────────────────────────────────────────────────

    @operation
    def start_cooldown(self, host: str, seconds: Duration, reason: str) -> Flow[bool]:
        """Start a cooldown of a host, in seconds; return False if a longer one exists."""
        key, ttl_ms = self._keys.cooldown_key(host), _milliseconds("seconds", seconds)
        reply = yield from scripts.run("start_cooldown", key, ttl_ms, _reason(reason))
        return bool(reply)

    @operation
    def cooldown(self, host: str) -> Flow[Cooldown | None]:
        """Return the rest of a host's cooldown and its reason, or None."""
        replies = yield Batch(*self._read_cooldown_commands(host))
        return _read_cooldown(*replies)

    @operation
    def end_cooldown(self, host: str) -> Flow[bool]:
        """End a host's cooldown; return False if it had none."""
        (removed,) = yield Batch(("DEL", self._keys.cooldown_key(host)))
        return bool(removed)

    # ── slots and cooldowns ──────────────────────────────────────────────────────────────────────

    @operation
    def acquire_slots(
        self,
        host: str,
        member: str,
        requests: Sequence[SlotRequest],
        ttl: Duration = ttls.SLOTS,
        *,
        rank: int | None = None,
    ) -> Flow[SlotDecision]:
        """Take all slots that a member needs at a host, or none; none during a cooldown.

        One round trip. In a cooldown, or if a request is refused, a second one reads the reason of the
        cooldown and releases the slots of the others. With a rank, slots are given in turn: of those
        that were refused, to the member with the lowest rank and name. Its place in the line of the
        refused resource lapses if it does not try again within two seconds, or for as long as
        `keep_place` says. A free slot is kept one second for who is in the line; then it is the next's.

        Args:
            host: whose cooldown counts.
            member: who needs the slots.
            requests: of each resource.
            ttl: seconds after which slots that are not renewed expire.
            rank: 0 to 9; None for a member that has no place in a line, and passes those that have.
        """
        requests, taking = self._taking(member, requests, ttl, rank)
        cooling = self._keys.cooldown_key(host)
        left_ms, *taken = yield from scripts.run_pipeline(
            ["slots_take"], [("PTTL", cooling), *taking]
        )
        answers = [_Taken(one, *reply) for one, reply in zip(requests, taken, strict=True)]
        short = next((one for one in answers if one.granted < one.request.want), None)
        called = sum(one.called for one in answers)
        if left_ms <= 0 and short is None:
            return SlotDecision(None, None, called=called)
        # In one line at a time: who waits in another could not use a slot of this one.
        keeps = short if left_ms <= 0 and rank is not None else None
        others = [(one.request.resource, member) for one in answers if one is not keeps]
        reason, *_ = yield Batch(("GET", cooling), *self._release_commands(others))
        return _refusal(_read_cooldown(left_ms, reason), short, called)

    @operation
    def keep_place(self, resource: str, member: str, seconds: Duration) -> Flow[bool]:
        """Keep a member's place in the line of a resource while it waits elsewhere until it is called.

        Return False if it has none.
        """
        arguments.string("member", member)
        key, ttl_ms = self._keys.slots_key(resource), _milliseconds("seconds", seconds)
        reply = yield from scripts.run("slots_wait", key, member, ttl_ms)
        return bool(reply)

    # ── downloads at once ────────────────────────────────────────────────────────────────────────

    @operation
    def set_most_downloads(self, count: int | None) -> Flow[None]:
        """Set how many downloads may run at once in all workers; None removes the limit."""
        key = self._keys.limits_key()
        if count is None:
            yield Batch(("HDEL", key, _DOWNLOADS))
        else:
            yield Batch(
                ("HSET", key, _DOWNLOADS, check_downloads(arguments.integer("count", count)))
            )

    @operation
    def most_downloads(self) -> Flow[int | None]:
        """Return how many downloads may run at once in all workers; None without such a limit."""
        (raw,) = yield Batch(("HGET", self._keys.limits_key(), _DOWNLOADS))
        try:
            return None if raw is None else check_downloads(int(raw))
        except (ValueError, InvalidInputError):
            return None  # another program may have written something else

    # ── rates ────────────────────────────────────────────────────────────────────────────────────

    @operation
    def set_rates(self, rates: Mapping[str, int | None]) -> Flow[None]:
        """Set several limits in one transaction: bytes per second by scope; None removes a limit."""
        key = self._keys.limits_key()
        commands: list[Command] = []
        for scope, rate in arguments.mapping("rates", rates).items():
            field = _scope(scope)
            commands.append(
                ("HDEL", key, field) if rate is None else ("HSET", key, field, _rate(rate))
            )
        if commands:
            yield Batch(*commands, atomic=True)

    @operation
    def rates(self) -> Flow[dict[str, int]]:
        """Return the limits in bytes per second by scope."""
        (raw,) = yield Batch(("HGETALL", self._keys.limits_key()))
        pairs = zip(raw[::2], raw[1::2], strict=True)
        read = (_read_rate(scope, rate) for scope, rate in pairs)
        return dict(one for one in read if one is not None)

    @operation
    def share_demands(
        self, worker: str, demands: Mapping[str, Demand], ttl: Duration = ttls.DEMAND
    ) -> Flow[dict[str, Demand]]:
        """Store a process's demand for limited rates, by scope; return the demand of all processes.

        A demand of zero transfers removes the entry. An entry that is not written again expires after
        `ttl` seconds.
        """
        arguments.string("worker", worker)
        return self._share(worker, demands, _milliseconds("ttl", ttl))

    @operation
    def demands(self, scopes: Sequence[str]) -> Flow[dict[str, Demand]]:
        """Return the demand of all processes for limited rates, by scope."""
        wanted = arguments.strings("scopes", scopes)
        return self._share("", dict.fromkeys(wanted, Demand()), 1)

    def _share(
        self, worker: str, demands: Mapping[str, Demand], ttl_ms: int
    ) -> Flow[dict[str, Demand]]:
        demands = {
            scope: _demand(own) for scope, own in arguments.mapping("demands", demands).items()
        }
        commands = [
            scripts.call("demand_share", self._keys.demand_key(scope), worker, *own, ttl_ms)
            for scope, own in demands.items()
        ]
        replies = yield from scripts.run_pipeline(["demand_share"], commands)
        return {
            scope: Demand(*map(int, reply)) for scope, reply in zip(demands, replies, strict=True)
        }

    def _taking(
        self, member: str, requests: Sequence[SlotRequest], ttl: Duration, rank: int | None
    ) -> tuple[list[SlotRequest], list[Command]]:
        """Check the arguments of `acquire_slots`; return the requests, and a command for each."""
        arguments.string("member", member)
        if rank is not None:
            arguments.integer("rank", rank, most=9)
        checked = [
            arguments.instance("requests", one, SlotRequest)
            for one in arguments.items("requests", requests)
        ]
        return checked, [
            scripts.call("slots_take", *_take_arguments(self._keys, one, member, ttl, rank))
            for one in checked
        ]

    # ── commands ─────────────────────────────────────────────────────────────────────────────────

    def _read_cooldown_commands(self, host: str) -> list[Command]:
        key = self._keys.cooldown_key(host)
        return [("PTTL", key), ("GET", key)]

    def _release_commands(self, holdings: Sequence[tuple[str, str]]) -> list[Command]:
        return [("HDEL", self._keys.slots_key(resource), member) for resource, member in holdings]


class _Taken(NamedTuple):
    """What slots_take returned for a request."""

    request: SlotRequest
    granted: int
    used: int
    has_place: int
    called: int
    unchanged_ms: int


def _refusal(cooldown: Cooldown | None, short: _Taken | None, called: int) -> SlotDecision:
    if short is None:
        return SlotDecision(cooldown, None, called=called)
    has_place = bool(short.has_place) and cooldown is None
    full = (short.request, short.used)
    return SlotDecision(cooldown, full, has_place, called, short.unchanged_ms / 1000)


def _take_arguments(
    keys: KeyBuilder, request: SlotRequest, member: str, ttl: Duration, rank: int | None
) -> tuple[str, *tuple[Argument, ...]]:
    arguments.string("member", member)
    arguments.integer("want", request.want, most=MAX_SLOTS)
    arguments.integer("limit", request.limit, least=1, most=MAX_SLOTS)
    key, place = keys.slots_key(request.resource), "" if rank is None else rank
    line = (place, round(_PLACE * 1000), MAX_PLACES, round(_PATIENCE * 1000))
    return key, member, request.want, request.limit, _milliseconds("ttl", ttl), *line


def _read_cooldown(left_ms: Any, reason: Any) -> Cooldown | None:
    # It may have expired between the two commands.
    if left_ms <= 0 or reason is None:
        return None
    return Cooldown(left_ms / 1000, reason.decode(errors="replace"))


def _holdings(holdings: Any) -> list[tuple[str, str]]:
    return [
        (resource, arguments.string("member", member))
        for resource, member in arguments.pairs("holdings", holdings)
    ]


def _reason(reason: Any) -> str:
    if not isinstance(reason, str):
        raise InvalidInputError("reason", reason, "It must be a string.")
    return reason[:MAX_REASON]


def _rate(rate: Any) -> int:
    return check_rate(arguments.integer("rate", rate))


def _read_rate(scope: bytes, rate: bytes) -> tuple[str, int] | None:
    """Return one limit; None for one that `set_rates` would refuse: it must not stop the others."""
    try:
        return _scope(scope.decode()), _rate(int(rate))
    except (ValueError, InvalidInputError):
        return None


def _demand(demand: Any) -> Demand:
    found = arguments.instance("demands", demand, Demand)
    for name, count in found._asdict().items():
        arguments.integer(name, count)
    return found


def _scope(scope: str) -> str:
    arguments.string("scope", scope)
    kind, _, name = scope.partition(":")
    if scope != "total" and (kind not in {"host", "job"} or not name):
        raise InvalidInputError("scope", scope, "It must be total, host:<host> or job:<id>.")
    return scope


def _milliseconds(field: str, seconds: Duration) -> int:
    return arguments.milliseconds(seconds, field=field)
