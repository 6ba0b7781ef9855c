"""Pages of jobs in the order of their ids, their ends or another value, a search, and a user's numbers.

No statement reads more rows than a page, or than `rows` for a search, whatever the number of jobs.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from operator import itemgetter
from typing import Any, NamedTuple
from urllib.parse import unquote

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    func,
    literal_column,
    or_,
    select,
    union_all,
)

from database.engine import Database
from database.job_queries import EVERY_JOB, conditions_by_status
from database.job_rows import COLUMNS, limited, to_job
from database.models import HAS_FINISHED, jobs
from domain.errors import InvalidInputError
from domain.files import MAX_SIZE
from domain.job import FINISHED, Job, JobFilter, JobStatus, Order, Priority
from domain.urls import display_url

#: Jobs that one search reads at most: about 20 ms. The next page goes on behind them.
SEARCHED_ROWS = 10_000

_PLAIN = re.compile("[a-z0-9]+")
_PLAIN_PARTS = 5
#: Ids are hexadecimal.
_AFTER_ALL_IDS = "g"
_SEARCHED = (jobs.c.id, jobs.c.url, jobs.c.secret_url, jobs.c.name, jobs.c.path)
#: Of a name that orders; names that begin alike are ordered by their ids.
_RANK_CHARACTERS = 100
_TOO_MANY = (
    "More than {most:,} jobs are in this list, and no index has this order: choose fewer by state, host "
    "or user, or order them by newest, oldest or ended."
)


class End(NamedTuple):
    """Where a job is in the order of ends."""

    at: datetime
    job_id: str


_AFTER_ALL_ENDS = End(datetime(9999, 12, 31, tzinfo=UTC), _AFTER_ALL_IDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class PageQuery:
    """Which jobs a page has.

    Attributes:
        where: the filter.
        statuses: only in one of these states; None for all.
        priority: only of this one.
        text: only jobs with this text in their URL, as it is shown, or in the name of their file. Upper
            and lower case are alike.
        after_id: the page before ended here.
        by_end: only finished jobs, those that have ended last first; then no search.
        after_end: the page before ended here.
        oldest_first: else the newest first.
        limit: how many jobs at most.
        rows: how many jobs a search reads at most, and a list by rank may have.
        rank: by size, name or priority, if no more than `rows` jobs fit states and `where`.
        after_rank: the page before ended here.
    """

    where: JobFilter = EVERY_JOB
    statuses: frozenset[JobStatus] | None = None
    priority: Priority | None = None
    text: str | None = None
    after_id: str | None = None
    by_end: bool = False
    after_end: End | None = None
    oldest_first: bool = False
    limit: int = 50
    rows: int = SEARCHED_ROWS
    rank: Order | None = None
    after_rank: Rank | None = None

    @property
    def is_search(self) -> bool:
        """Whether no index finds its jobs: it reads more than it returns, in steps of `rows`."""
        return self.priority is not None or self.text is not None


class Rank(NamedTuple):
    """Where a job is in an order that no index has; texts that compare as jobs do."""

    key: str
    job_id: str


class JobPage(NamedTuple):
    """Some jobs; a search may find none on a page, and yet not be at its end."""

    jobs: list[Job]
    last_id: str | None
    """Where the next page goes on; None at the end."""
    last_rank: Rank | None = None
    """The same in a list by rank."""


class JobPages:
    """Reads the `jobs` table. Methods raise DatabaseUnavailableError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def page(self, wanted: PageQuery) -> JobPage:
        """Return one page. Jobs that are added meanwhile shift none from one page to another."""
        if wanted.rank is not None:
            return self._ranked(wanted, wanted.rank)
        if wanted.is_search:
            return self._search(wanted)
        if wanted.by_end and not FINISHED & (wanted.statuses or FINISHED):
            return JobPage([], None)
        ids = (_ended_ids if wanted.by_end else _ids)(wanted, wanted.limit + 1)
        with self._database.read() as connection:
            query = select(*COLUMNS).where(jobs.c.id.in_(ids)).order_by(*_orders(wanted))
            found = [to_job(row) for row in connection.execute(query)]
        has_more = len(found) > wanted.limit
        return JobPage(found[: wanted.limit], found[wanted.limit - 1].id if has_more else None)

    def count_of_user(self, user_id: str, *, at_most: int) -> dict[JobStatus, int]:
        """Return the numbers of a user's jobs in each state; a count ends at `at_most`."""
        counts = [
            select(
                literal_column(f"'{status.value}'").label("status"),
                select(func.count())
                .select_from(select(jobs.c.id).where(*conditions).limit(at_most).subquery())
                .scalar_subquery(),
            )
            for status, conditions in conditions_by_status(JobFilter(user_id=user_id))
        ]
        # One statement, so that a job that changes its state meanwhile is counted once.
        with self._database.read() as connection:
            found = connection.execute(union_all(*counts)).all()
        return {JobStatus(status): int(count) for status, count in found if count}

    def _ranked(self, wanted: PageQuery, order: Order) -> JobPage:
        """Read what orders all jobs of a list, then those of one page.

        Raises:
            InvalidInputError: the list has more jobs than may be read.
        """
        most = wanted.rows
        with self._database.read() as connection:
            query = select(*_ranked_columns(wanted, order)).where(
                jobs.c.id.in_(_ids(wanted, most + 1))
            )
            rows = connection.execute(query.order_by(jobs.c.id.desc())).all()
            if len(rows) > most:
                raise InvalidInputError("sort", order.value, _TOO_MANY.format(most=most))
            ranks = [Rank(_RANKS[order](row), row.id) for row in rows if _fits(row, wanted)]
            ranks.sort(key=itemgetter(0))  # stable: of one key the newest first
            start = 0 if wanted.after_rank is None else _behind(ranks, wanted.after_rank)
            chosen = ranks[start : start + wanted.limit]
            by_id = select(*COLUMNS).where(jobs.c.id.in_([rank.job_id for rank in chosen]))
            found = {row.id: to_job(row) for row in connection.execute(by_id)}
        last = chosen[-1] if start + wanted.limit < len(ranks) else None
        page = [found[rank.job_id] for rank in chosen if rank.job_id in found]
        return JobPage(page, last and last.job_id, last)

    def _search(self, wanted: PageQuery) -> JobPage:
        """Search the next `rows` jobs. The end of that part does not depend on what it contains.

        Else the position of a page would give away texts that are not shown.
        """
        with self._database.read() as connection:
            part = _ids(wanted, wanted.rows).subquery()
            last = func.max(part.c.id) if wanted.oldest_first else func.min(part.c.id)
            count, last_id = connection.execute(select(func.count(), last).select_from(part)).one()
            if last_id is None:
                return JobPage([], None)
            # One more than wanted, which shows whether there is a next page.
            ids = list(islice(_matching(connection, wanted, last_id), wanted.limit + 1))
            rows = connection.execute(
                select(*COLUMNS).where(jobs.c.id.in_(ids[: wanted.limit])).order_by(_order(wanted))
            )
            found = [to_job(row) for row in rows]
        if len(ids) > wanted.limit:
            return JobPage(found, ids[wanted.limit - 1])
        return JobPage(found, last_id if count == wanted.rows else None)


def _size_rank(row: Any) -> str:
    return "~" if row.bytes_total is None else f"{MAX_SIZE - row.bytes_total:019d}"


def _name_rank(row: Any) -> str:
    """Return what is shown of a name: a cursor has it, too."""
    name = (row.path or "").rpartition("/")[2] or row.name
    if not name:
        shown = display_url(row.url, secret=row.secret_url)
        name = unquote(shown.partition("?")[0].rpartition("/")[2])
    return str(name).casefold()[:_RANK_CHARACTERS]


def _ranked_columns(wanted: PageQuery, order: Order) -> list[ColumnElement[Any]]:
    """Return what orders and chooses jobs: each further column takes time for each job of the list."""
    columns: list[ColumnElement[Any]] = [jobs.c.id]
    if order is Order.SIZE:
        columns.append(jobs.c.bytes_total)
    if order is Order.PRIORITY or wanted.priority is not None:
        columns.append(jobs.c.priority)
    if order is Order.NAME or wanted.text is not None:
        columns += _SEARCHED[1:]
    return columns


_PRIORITIES = {one.value: str(place) for place, one in enumerate(Priority)}
_RANKS: Mapping[Order, Callable[[Any], str]] = {
    Order.SIZE: _size_rank,
    Order.NAME: _name_rank,
    Order.PRIORITY: lambda row: _PRIORITIES[row.priority],
}


def _fits(row: Any, wanted: PageQuery) -> bool:
    """Return whether a job has the priority and the text."""
    has_priority = wanted.priority is None or row.priority == wanted.priority.value
    return has_priority and (wanted.text is None or _has_text(row, wanted.text.casefold()))


def _behind(ranks: Sequence[Rank], last: Rank) -> int:
    """Return where the jobs behind a rank begin, whether or not there still is a job with it."""
    start = bisect_left(ranks, last.key, key=itemgetter(0))
    while (
        start < len(ranks) and ranks[start].key == last.key and ranks[start].job_id >= last.job_id
    ):
        start += 1
    return start


def _order(wanted: PageQuery) -> ColumnElement[str]:
    return jobs.c.id.asc() if wanted.oldest_first else jobs.c.id.desc()


def _orders(wanted: PageQuery) -> list[ColumnElement[Any]]:
    return [jobs.c.finished_at.desc(), jobs.c.id.desc()] if wanted.by_end else [_order(wanted)]


def _ended_ids(wanted: PageQuery, limit: int) -> Select[tuple[str]]:
    """Return the query for the ids of jobs that have ended last, each state by its own index."""
    at, job_id = wanted.after_end or _AFTER_ALL_ENDS
    column = jobs.c.finished_at
    before = and_(column <= at, or_(column < at, jobs.c.id < job_id))
    parts = [
        select(jobs.c.id, column)
        .where(*conditions, HAS_FINISHED, before)
        .order_by(column.desc(), jobs.c.id.desc())
        .limit(limited(limit))
        for status, conditions in conditions_by_status(wanted.where)
        if status in FINISHED and (wanted.statuses is None or status in wanted.statuses)
    ]
    ended = union_all(*(select(part.subquery()) for part in parts)).subquery()
    order = (ended.c.finished_at.desc(), ended.c.id.desc())
    return select(select(ended.c.id).order_by(*order).limit(limited(limit)).subquery().c.id)


def _after(wanted: PageQuery) -> ColumnElement[bool]:
    """Return the condition for what follows the page before; also for the first page.

    Its plan is the same then: a search of the primary key, not a scan that its limit ends.
    """
    if wanted.oldest_first:
        return jobs.c.id > (wanted.after_id or "")
    return jobs.c.id < (wanted.after_id or _AFTER_ALL_IDS)


def _ids(wanted: PageQuery, limit: int, *further: ColumnElement[bool]) -> Select[tuple[str]]:
    """Return the query for the first ids that fit the filter, each state by its own index."""
    further = (_after(wanted), *further)
    if wanted.where == EVERY_JOB and wanted.statuses is None:
        query = select(jobs.c.id).where(*further).order_by(_order(wanted)).limit(limited(limit))
        return select(query.subquery().c.id)
    parts = [
        select(jobs.c.id)
        .where(*conditions, *further)
        .order_by(_order(wanted))
        .limit(limited(limit))
        for status, conditions in conditions_by_status(wanted.where)
        if wanted.statuses is None or status in wanted.statuses
    ]
    if not parts:
        return select(jobs.c.id).where(literal_column("1 = 0"))
    chosen = union_all(*(select(part.subquery()) for part in parts)).subquery()
    order = chosen.c.id.asc() if wanted.oldest_first else chosen.c.id.desc()
    return select(select(chosen.c.id).order_by(order).limit(limited(limit)).subquery().c.id)


def _matching(connection: Connection, wanted: PageQuery, last_id: str) -> Iterator[str]:
    """Yield the ids of jobs up to `last_id` that have the text and the priority, in order."""
    until = jobs.c.id <= last_id if wanted.oldest_first else jobs.c.id >= last_id
    # Jobs that were added meanwhile come on top of `rows`.
    ids = _ids(wanted, 2 * wanted.rows, until)
    query = select(*_SEARCHED).where(jobs.c.id.in_(ids), *_may_match(wanted))
    for row in connection.execute(query.order_by(_order(wanted))):
        if wanted.text is None or _has_text(row, wanted.text.casefold()):
            yield row.id


def _may_match(wanted: PageQuery) -> Iterator[ColumnElement[bool]]:
    """Yield conditions that leave out most other jobs, alike in every database."""
    if wanted.priority is not None:
        yield jobs.c.priority == wanted.priority.value
    # Parts that no spelling changes: neither the case nor an encoding.
    plain = _PLAIN.findall((wanted.text or "").lower())[:_PLAIN_PARTS]
    if plain:
        columns = [func.lower(column) for column in (jobs.c.url, jobs.c.name, jobs.c.path)]
        yield or_(*(and_(*(column.contains(part) for part in plain)) for column in columns))


def _has_text(row: Any, text: str) -> bool:
    """Return whether what is shown of a job contains a text, given in folded case."""
    file_name = (row.path or "").rpartition("/")[2]
    if any(text in (name or "").casefold() for name in (row.name, file_name)):
        return True
    # What is not in the whole URL is not in the part that is shown, which takes longer to find.
    return _is_in_url(text, row.url) and _is_in_url(
        text, display_url(row.url, secret=row.secret_url)
    )


def _is_in_url(text: str, url: str) -> bool:
    return text in url.casefold() or ("%" in url and text in unquote(url).casefold())
