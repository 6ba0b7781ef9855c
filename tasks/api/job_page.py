"""Lists of jobs page by page, with a filter, a search and a cursor; the numbers of jobs.

The read model of the HTTP API and of `seen list --search`.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from database.job_pages import PageQuery
from domain.errors import InvalidInputError, StoreError
from domain.ids import is_job_id
from domain.job import RUNNING, JobFilter, JobStatus, Priority
from tasks.api.job_view import JobReader, JobView

if TYPE_CHECKING:  # loads Celery, which reading does not need
    from worker.runtime import Runtime

#: Jobs on one page at most.
MAX_LIMIT = 500
#: Characters of a search.
MAX_SEARCH = 200
#: A user's jobs of one state are counted up to this number: counting reads each.
MAX_COUNT = 10_000
_VERSION = 1
_DIGEST_BYTES = 9


class Order(StrEnum):
    """The order of a list."""

    NEWEST = "newest"
    OLDEST = "oldest"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobList:
    """Which jobs a list has; None does not restrict.

    Attributes:
        states: in one of these states; empty for all.
        user_id: only this owner's.
        host: only from this host, normalized as `domain.limits.check_host` returns it.
        priority: only of this priority.
        search: text in the URL, as it is shown (no secret of it is found), or in the name of the file.
        order: by the time of their submission.
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
            InvalidInputError: the search, the limit or the cursor is not valid.
        """
        if self.search is not None and not _is_searchable(self.search):
            remedy = f"It has 1 to {MAX_SEARCH} characters, none of them a control character."
            raise InvalidInputError("search", self.search, remedy)
        if not 1 <= self.limit <= MAX_LIMIT:
            raise InvalidInputError("limit", self.limit, f"It is 1 to {MAX_LIMIT}.")
        return PageQuery(
            where=JobFilter(user_id=self.user_id, host=self.host),
            statuses=self.states or None,
            priority=self.priority,
            text=self.search,
            after_id=None if self.cursor is None else self._position(self.cursor),
            oldest_first=self.order is Order.OLDEST,
            limit=self.limit,
        )

    def cursor_after(self, job_id: str) -> str:
        """Return the cursor of the page that follows this job."""
        content = json.dumps([_VERSION, self._digest(), job_id], separators=(",", ":"))
        return base64.urlsafe_b64encode(content.encode()).decode().rstrip("=")

    def _position(self, cursor: str) -> str:
        """Return the id of the last job before a page."""
        try:
            padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
            version, digest, job_id = json.loads(base64.b64decode(padded, b"-_", validate=True))
            is_known = version == _VERSION and isinstance(job_id, str) and is_job_id(job_id)
        except (ValueError, TypeError, RecursionError):
            is_known = False
        if not is_known:
            remedy = "Use next_cursor of the page before as it is, or begin without a cursor."
            raise InvalidInputError("cursor", cursor, remedy)
        if digest != self._digest():
            remedy = "It belongs to a list with another filter or order: begin without a cursor."
            raise InvalidInputError("cursor", cursor, remedy)
        return str(job_id)

    def _digest(self) -> str:
        """Return a digest of the filter and the order; a cursor is for one of them."""
        states = sorted(self.states)
        same = [states, self.user_id, self.host, self.priority, self.search, self.order]
        digest = hashlib.sha256(json.dumps(same).encode("utf-8", "surrogatepass")).digest()
        return base64.urlsafe_b64encode(digest[:_DIGEST_BYTES]).decode()


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
        InvalidInputError: the search, the limit or the cursor is not valid.
        DatabaseUnavailableError: the database does not answer.
    """
    return read_page(JobReader(runtime.jobs, runtime.cache.download), wanted)


def read_page(reader: JobReader, wanted: JobList) -> JobListPage:
    """Do `list_page` with a reader."""
    views, last_id = reader.page(wanted.query())
    return JobListPage(views, None if last_id is None else wanted.cursor_after(last_id))


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
