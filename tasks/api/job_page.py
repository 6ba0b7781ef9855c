"""Lists of jobs page by page, with a filter, a search and a cursor; the numbers of jobs.

The read model of the HTTP API and of `seen list --search`.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from database.job_pages import SEARCHED_ROWS, End, PageQuery, Rank
from domain.errors import InvalidInputError, StoreError
from domain.ids import is_job_id
from domain.job import RUNNING, Job, JobFilter, JobStatus, Order, Priority
from tasks.api.job_view import JobReader, JobView

if TYPE_CHECKING:  # loads Celery, which reading does not need
    from worker.runtime import Runtime

#: Jobs on one page at most.
MAX_LIMIT = 500
#: Characters of a search.
MAX_SEARCH = 200
#: A user's jobs of one state are counted up to this number: counting reads each.
MAX_COUNT = 10_000
#: Running jobs that a list by speed looks at, the newest ones.
MAX_RUNNING = 2_000
_VERSION = 1
_DIGEST_BYTES = 9
_ALL = frozenset(JobStatus)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: Up to the year 5138.
_MICROS_DIGITS = 17


@dataclass(frozen=True, slots=True, kw_only=True)
class JobList:
    """Which jobs a list has; None does not restrict.

    Attributes:
        states: in one of these states; empty for all.
        user_id: only this owner's.
        host: only from this host, normalized as `domain.limits.check_host` returns it.
        priority: only of this priority.
        search: text in the URL, as it is shown (no secret of it is found), or in the name of the file.
        order: by the time of their submission; or only finished jobs by their end, or running ones by
            their speed, without search and priority; or by size, name or priority, if `states`,
            `user_id` and `host` leave no more than `Order.most_jobs`.
        limit: the size of a page, 1 to 500. A page of a search, or of a priority, may have fewer jobs,
            or none, and still a next one: each looks through 10,000 jobs.
        cursor: `JobListPage.next_cursor` of the page before.
    """

    states: frozenset[JobStatus] = frozenset()
    user_id: str | None = None
    host: str | None = None
    priority: Priority | None = None
    search: str | None = None
    order: Order = Order.NEWEST
    limit: int = 50
    cursor: str | None = None

    def query(self) -> PageQuery:
        """Return what the database is asked for.

        Raises:
            InvalidInputError: the search, the order, the limit or the cursor is not valid.
        """
        self._check_order()
        if self.search is not None and not _is_searchable(self.search):
            remedy = f"It has 1 to {MAX_SEARCH} characters, none of them a control character."
            raise InvalidInputError("search", self.search, remedy)
        if not 1 <= self.limit <= MAX_LIMIT:
            raise InvalidInputError("limit", self.limit, f"It is 1 to {MAX_LIMIT}.")
        position = None if self.cursor is None else self._position(self.cursor)
        is_by_end, is_ranked = self.order is Order.ENDED, self.order.most_jobs is not None
        return PageQuery(
            where=JobFilter(user_id=self.user_id, host=self.host),
            statuses=self.states or (self.order.states if self.order.states != _ALL else None),
            priority=self.priority,
            text=self.search,
            after_id=None if is_by_end or is_ranked else position,
            after_end=_end_from(position, self.cursor or "") if is_by_end and position else None,
            by_end=is_by_end,
            rows=self.order.most_jobs or SEARCHED_ROWS,
            rank=self.order if is_ranked else None,
            after_rank=_rank_from(position) if is_ranked and position else None,
            oldest_first=self.order is Order.OLDEST,
            limit=self.limit,
        )

    def _check_order(self) -> None:
        """Raise InvalidInputError if no index has this order of these jobs."""
        states = self.order.states
        if not self.states <= states:
            names = ", ".join(sorted(states))
            remedy = f"It orders jobs that are {names}: ask for these states, or for none."
            raise InvalidInputError("sort", self.order.value, remedy)
        if states != _ALL and (self.search is not None or self.priority is not None):
            remedy = "A search, or a list of a priority, is ordered by newest or oldest."
            raise InvalidInputError("sort", self.order.value, remedy)
        if self.order is Order.SPEED and self.cursor is not None:
            raise InvalidInputError("cursor", self.cursor, "A list by speed has one page.")

    def cursor_after(self, position: str) -> str:
        """Return the cursor of the page that follows a job: its id, behind its end where that orders."""
        content = json.dumps([_VERSION, self._digest(), position], separators=(",", ":"))
        return base64.urlsafe_b64encode(content.encode()).decode().rstrip("=")

    def _position(self, cursor: str) -> str:
        """Return the position of the last job before a page."""
        try:
            padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
            version, digest, position = json.loads(base64.b64decode(padded, b"-_", validate=True))
            job_id = position.rpartition(" ")[2]
            is_known = version == _VERSION and is_job_id(job_id)
        except (ValueError, TypeError, RecursionError, AttributeError):
            is_known = False
        if not is_known:
            raise _unknown_cursor(cursor)
        if digest != self._digest():
            remedy = "It belongs to a list with another filter or order: begin without a cursor."
            raise InvalidInputError("cursor", cursor, remedy)
        return str(position)

    def _digest(self) -> str:
        """Return a digest of the filter and the order; a cursor is for one of them."""
        states = sorted(self.states)
        same = [states, self.user_id, self.host, self.priority, self.search, self.order]
        digest = hashlib.sha256(json.dumps(same).encode("utf-8", "surrogatepass")).digest()
        return base64.urlsafe_b64encode(digest[:_DIGEST_BYTES]).decode()


def _unknown_cursor(cursor: str) -> InvalidInputError:
    remedy = "Use next_cursor of the page before as it is, or begin without a cursor."
    return InvalidInputError("cursor", cursor, remedy)


def _rank_from(position: str) -> Rank:
    key, _, job_id = position.rpartition(" ")
    return Rank(key, job_id)


def _end_from(position: str, cursor: str) -> End:
    """Read the end of a job from a position: microseconds since the epoch, and the id."""
    micros, _, job_id = position.partition(" ")
    if not (micros.isascii() and micros.isdigit() and len(micros) <= _MICROS_DIGITS):
        raise _unknown_cursor(cursor)
    return End(_EPOCH + timedelta(microseconds=int(micros)), job_id)


def _end_of(job: Job) -> str:
    """Return the position of a finished job in a list by ends."""
    at = job.finished_at or _EPOCH
    return f"{(at - _EPOCH) // timedelta(microseconds=1)} {job.id}"


def _is_searchable(text: str) -> bool:
    is_text = not any(char < " " or char == "\x7f" or "\ud800" <= char <= "\udfff" for char in text)
    return is_text and 1 <= len(text) <= MAX_SEARCH


@dataclass(frozen=True, slots=True)
class JobListPage:
    """One page of a list."""

    views: list[JobView]
    next_cursor: str | None
    """None on the last page."""


@dataclass(frozen=True, slots=True)
class Totals:
    """The numbers of jobs, and what is downloaded now.

    Attributes:
        jobs: how many jobs there are in each state.
        at_least: the states of which there are more jobs than `jobs` says.
        active: downloads that transfer now; None if the store does not answer.
        bytes_per_second: their rate; None if the store does not answer.
    """

    jobs: Mapping[JobStatus, int]
    at_least: frozenset[JobStatus]
    active: int | None
    bytes_per_second: float | None


def list_page(wanted: JobList, *, runtime: Runtime) -> JobListPage:
    """Return one page of a list.

    Pages are stable: a job is on one page only, whatever is submitted or changes its state meanwhile.

    Raises:
        InvalidInputError: the search, the order, the limit or the cursor is not valid.
        DatabaseUnavailableError: the database does not answer.
    """
    return read_page(JobReader(runtime.jobs, runtime.cache.download), wanted)


def read_page(reader: JobReader, wanted: JobList) -> JobListPage:
    """Do `list_page` with a reader."""
    query = wanted.query()
    if wanted.order is Order.SPEED:
        return JobListPage(_fastest(reader, query), None)
    page = reader.page(query)
    views = reader.merge(page.jobs)
    if page.last_id is None:
        return JobListPage(views, None)
    last = page.last_id
    if page.last_rank is not None:
        last = f"{page.last_rank.key} {page.last_rank.job_id}"
    elif wanted.order is Order.ENDED:
        last = _end_of(views[-1].job)
    return JobListPage(views, wanted.cursor_after(last))


def _fastest(reader: JobReader, query: PageQuery) -> list[JobView]:
    """Return the fastest running jobs: all that run are read, up to a number."""
    views = reader.merge(reader.page(replace(query, limit=MAX_RUNNING)).jobs)
    return sorted(views, key=lambda view: -view.progress.speed)[: query.limit]


def totals(*, user_id: str | None = None, runtime: Runtime) -> Totals:
    """Return the numbers of all jobs, or of one user's.

    Raises:
        DatabaseUnavailableError: the database does not answer.
    """
    if user_id is None:
        counts = runtime.jobs.count_by_status()
        try:
            live = runtime.cache.download.totals()
        except StoreError:
            return Totals(counts, frozenset(), None, None)
        return Totals(counts, frozenset(), live.active, live.bytes_per_second)
    counts = runtime.jobs.count_of_user(user_id, at_most=MAX_COUNT + 1)
    at_least = frozenset(status for status, count in counts.items() if count > MAX_COUNT)
    counts = {status: min(count, MAX_COUNT) for status, count in counts.items()}
    return replace(_live_of_user(user_id, runtime), jobs=counts, at_least=at_least)


def _live_of_user(user_id: str, runtime: Runtime) -> Totals:
    running = runtime.jobs.find(
        JobFilter(user_id=user_id), statuses=sorted(RUNNING), limit=MAX_COUNT
    )
    try:
        live = runtime.cache.download.get_many([job.id for job in running])
    except StoreError:
        return Totals({}, frozenset(), None, None)
    return Totals({}, frozenset(), len(live), sum(one.speed for one in live.values()))
