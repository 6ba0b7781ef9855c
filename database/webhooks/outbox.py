"""The outbox: which deliveries are due, who makes them, and what has become of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    bindparam,
    delete,
    exists,
    func,
    select,
    update,
)

from database.engine import Database
from database.models import PENDING, webhook_deliveries
from database.webhooks.delivery import (
    DELIVERY_COLUMNS,
    MAX_ATTEMPTS_KEPT,
    Attempt,
    Delivery,
    DeliveryState,
    Target,
    to_delivery,
)

#: Rows deleted in one transaction.
BATCH = 500

_rows = webhook_deliveries.c


class Outbox:
    """Reads and writes `webhook_deliveries`. Methods raise DatabaseUnavailableError without database.

    A claim raises `claims` and moves `next_attempt_at` to the end of its lease. So nothing is left to
    repair when a sender dies: the delivery is due again, and the former claim can record nothing.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    # ── sending ─────────────────────────────────────────────────────────────────────────────────

    def hosts_due(self, now: datetime) -> list[str]:
        """Return the hosts with due deliveries; "" stands for the program.

        However many deliveries are pending, it reads a few rows of the index for each host.
        """
        with self._database.read() as connection:
            found = connection.execute(_HOSTS_DUE, {"b_now": now}).scalars().all()
        return [str(host) for host in found]

    def claim(self, host: str, *, now: datetime, lease: timedelta, limit: int) -> list[Delivery]:
        """Claim due deliveries to one host, those that have waited longest; no two senders get the same.

        Of one job and target only the oldest pending one can be claimed: they are made in order.
        """
        earlier = webhook_deliveries.alias()
        is_first = ~exists().where(
            earlier.c.job_id == _rows.job_id,
            earlier.c.target == _rows.target,
            earlier.c.state == DeliveryState.PENDING.value,
            earlier.c.id < _rows.id,
        )
        due = _is_due(host, now) & is_first
        query = select(*DELIVERY_COLUMNS).where(due).order_by(_rows.next_attempt_at).limit(limit)
        values = {"claims": _rows.claims + 1, "next_attempt_at": now + lease}

        def work(connection: Connection) -> list[Delivery]:
            found = [to_delivery(row) for row in connection.execute(query)]
            claimed = []
            for one in sorted(found, key=lambda one: one.id):  # against deadlocks
                change = update(webhook_deliveries).where(_is_claimed(one)).values(values)
                row = connection.execute(change.returning(*DELIVERY_COLUMNS)).first()
                if row is not None:
                    claimed.append(to_delivery(row))
            return claimed

        return self._database.transact(work)

    def record(
        self,
        delivery: Delivery,
        attempt: Attempt,
        state: DeliveryState,
        *,
        next_attempt_at: datetime | None = None,
    ) -> bool:
        """Record an attempt of a claimed delivery; False when it has a newer claim.

        Args:
            delivery: as claimed.
            attempt: what was tried.
            state: what follows.
            next_attempt_at: of one that stays pending.
        """
        values: dict[str, Any] = {
            "state": state.value,
            "attempts": _rows.attempts + 1,
            "log": _log_text((*delivery.log, attempt)),
        }
        if next_attempt_at is not None:
            values["next_attempt_at"] = next_attempt_at
        return self._change(delivery, values)

    def release(self, delivery: Delivery, now: datetime) -> bool:
        """Give a claimed delivery back, not made."""
        return self._change(delivery, {"next_attempt_at": now})

    def _change(self, delivery: Delivery, values: dict[str, Any]) -> bool:
        change = update(webhook_deliveries).where(_is_claimed(delivery)).values(values)
        return self._database.transact(lambda connection: connection.execute(change).rowcount == 1)

    # ── people ──────────────────────────────────────────────────────────────────────────────────

    def get(self, delivery_id: int) -> Delivery | None:
        """Return one delivery, or None."""
        query = select(*DELIVERY_COLUMNS).where(_rows.id == delivery_id)
        with self._database.read() as connection:
            row = connection.execute(query).first()
        return None if row is None else to_delivery(row)

    def find(
        self,
        *,
        user_id: str | None = None,
        job_id: str | None = None,
        state: DeliveryState | None = None,
        before: int | None = None,
        limit: int = 50,
    ) -> list[Delivery]:
        """Return deliveries, the newest first; None does not restrict.

        Args:
            user_id: of this owner's jobs.
            job_id: of this job.
            state: only in this state.
            before: only those with a smaller id: the next page.
            limit: how many at most.
        """
        query = select(*DELIVERY_COLUMNS).order_by(_rows.id.desc()).limit(limit)
        wanted = {_rows.user_id: user_id, _rows.job_id: job_id, _rows.state: state}
        for column, value in wanted.items():
            if value is not None:
                query = query.where(column == str(value))
        if before is not None:
            query = query.where(_rows.id < before)
        with self._database.read() as connection:
            return [to_delivery(row) for row in connection.execute(query)]

    def send_again(self, delivery_id: int, now: datetime) -> Delivery | None:
        """Make a delivery due now, with all its attempts, and return it; None if there is none.

        Its log stays. One that is being made at this moment may reach its receiver twice.
        """
        change = (
            update(webhook_deliveries)
            .where(_rows.id == delivery_id)
            .values(state=DeliveryState.PENDING.value, attempts=0, next_attempt_at=now)
            .returning(*DELIVERY_COLUMNS)
        )
        with self._database.write() as connection:
            row = connection.execute(change).first()
        return None if row is None else to_delivery(row)

    def backlog(self) -> int:
        """Return how many deliveries are pending."""
        query = select(func.count()).select_from(webhook_deliveries).where(PENDING)
        with self._database.read() as connection:
            return int(connection.execute(query).scalar_one())

    # ── the end ─────────────────────────────────────────────────────────────────────────────────

    def purge_some(self, before: datetime) -> int:
        """Delete the oldest that are not pending and whose jobs ended before then; return how many."""
        old = (
            select(_rows.id)
            .where(_rows.state != DeliveryState.PENDING.value, _rows.ended_at < before)
            .order_by(_rows.id)
            .limit(BATCH)
        )
        with self._database.write() as connection:
            change = delete(webhook_deliveries).where(_rows.id.in_(old))
            return connection.execute(change).rowcount

    def drop_program(self) -> int:
        """Delete the pending deliveries for a program; return how many."""
        is_programs = and_(PENDING, _rows.host == "", _rows.target == Target.PROGRAM.value)
        with self._database.write() as connection:
            return connection.execute(delete(webhook_deliveries).where(is_programs)).rowcount

    def correct_times(self, now: datetime, longest: timedelta) -> int:
        """Make those due that wait for longer than any pause: a clock was wrong. Return how many."""
        is_wrong = and_(PENDING, _rows.next_attempt_at > now + longest)
        with self._database.write() as connection:
            change = update(webhook_deliveries).where(is_wrong).values(next_attempt_at=now)
            return connection.execute(change).rowcount


def make_due(connection: Connection, user_id: str, *, now: datetime, later_than: datetime) -> None:
    """Make the pending deliveries to a user's receivers due that would wait longer than until then."""
    is_users = and_(PENDING, _rows.user_id == user_id, _rows.target != Target.PROGRAM.value)
    change = update(webhook_deliveries).where(is_users, _rows.next_attempt_at > later_than)
    connection.execute(change.values(next_attempt_at=now))


def delete_of_jobs(connection: Connection, job_ids: Sequence[str]) -> None:
    """Delete the deliveries of deleted jobs, unless they are still to be made."""
    is_over = _rows.state != DeliveryState.PENDING.value
    connection.execute(delete(webhook_deliveries).where(_rows.job_id.in_(job_ids), is_over))


def _hosts_due() -> Select[tuple[str]]:
    """Return the query for hosts with due deliveries: the index is entered once for each host."""
    first = select(func.min(_rows.host)).where(PENDING).scalar_subquery()
    hosts = select(first.label("host")).cte("hosts", recursive=True)
    greater = select(func.min(_rows.host)).where(PENDING, _rows.host > hosts.c.host)
    following = select(greater.scalar_subquery()).where(hosts.c.host.is_not(None))
    hosts = hosts.union_all(following)
    now = bindparam("b_now", type_=_rows.next_attempt_at.type)
    due = exists().where(PENDING, _rows.host == hosts.c.host, _rows.next_attempt_at <= now)
    return select(hosts.c.host).where(due).order_by(hosts.c.host)


_HOSTS_DUE = _hosts_due()


def _is_due(host: str, now: datetime) -> ColumnElement[bool]:
    return and_(PENDING, _rows.host == host, _rows.next_attempt_at <= now)


def _is_claimed(delivery: Delivery) -> ColumnElement[bool]:
    """Return whether a delivery is pending, and has not been claimed since it was read."""
    return and_(PENDING, _rows.id == delivery.id, _rows.claims == delivery.claims)


def _log_text(log: Sequence[Attempt]) -> str:
    kept = [attempt.as_json() for attempt in log[-MAX_ATTEMPTS_KEPT:]]
    return json.dumps(kept, ensure_ascii=False)
