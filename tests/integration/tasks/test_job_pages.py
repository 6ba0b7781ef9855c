"""Pages of jobs: filters, search, cursors that stay true while jobs arrive, and totals."""

from __future__ import annotations

import base64
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import delete, update

import tasks
from database import JobRepository
from database.job_pages import PageQuery
from database.models import jobs
from database.operations import Claim
from domain.errors import InvalidInputError
from domain.ids import new_job_id
from domain.job import Job, JobStatus, Order, Priority
from tasks import JobList
from tests.support.build import new_job
from tests.support.services.system import System

S = JobStatus
URL = "http://127.0.0.1:9"


def _all_pages(system: System, wanted: JobList) -> list[list[str]]:
    pages, cursor = [], None
    while True:
        query = JobList(**{name: getattr(wanted, name) for name in _FIELDS}, cursor=cursor)
        page = tasks.list_page(query, runtime=system.runtime)
        pages.append([view.job.id for view in page.views])
        if (cursor := page.next_cursor) is None:
            return pages


_FIELDS = ("states", "user_id", "host", "priority", "search", "order", "limit")


@pytest.mark.parametrize("order", [Order.NEWEST, Order.OLDEST])
def test_each_job_is_on_one_page_while_jobs_arrive(any_system: System, order: Order) -> None:
    ids = [any_system.submit(f"{URL}/{n}").id for n in range(5)]
    first = tasks.list_page(JobList(order=order, limit=2), runtime=any_system.runtime)
    later = any_system.submit(f"{URL}/later").id
    rest: list[str] = []
    cursor = first.next_cursor
    while cursor is not None:
        wanted = JobList(order=order, limit=2, cursor=cursor)
        page = tasks.list_page(wanted, runtime=any_system.runtime)
        rest += [view.job.id for view in page.views]
        cursor = page.next_cursor
    found = [view.job.id for view in first.views] + rest
    assert found == ([*ids, later] if order is Order.OLDEST else ids[::-1])


def _ended(system: System, number: int, at: int, state: JobStatus = S.FAILED) -> str:
    """Return the id of a job that has ended so many seconds after others."""
    runtime = system.runtime
    job: Job = system.submit(f"{URL}/ended{number}", user_id="ada" if number % 2 else "bob")
    now = runtime.now() + timedelta(seconds=at)
    if state is not S.CANCELLED:
        (job,) = runtime.jobs.perform([Claim(job.id, "w", now)])
    steps = (S.VERIFYING, S.COMPLETED) if state is S.COMPLETED else (state,)
    for step in steps:
        moved = runtime.jobs.transition(job, step, now=now)
        assert moved is not None
        job = moved
    return job.id


def test_finished_jobs_are_listed_by_their_ends(any_system: System) -> None:
    """Each once, whatever ends or is retried meanwhile; those that ended together by their ids."""
    runtime, day = any_system.runtime, any_system.runtime.now()
    at = (50, 10, 30, 10, 10, 40)
    states = (S.FAILED, S.COMPLETED, S.CANCELLED, S.FAILED, S.COMPLETED, S.FAILED)
    any_system.submit(f"{URL}/unfinished")
    ids = [
        _ended(any_system, number, seconds, state)
        for number, (seconds, state) in enumerate(zip(at, states, strict=True))
    ]
    with runtime.database.write() as connection:  # to the microsecond
        for job_id, seconds in zip(ids, at, strict=True):
            same = {"finished_at": day + timedelta(seconds=seconds)}
            connection.execute(update(jobs).where(jobs.c.id == job_id).values(same))
    expected = [ids[0], ids[5], ids[2], ids[4], ids[3], ids[1]]
    for limit in (1, 2, 3, 6, 7):
        pages = _all_pages(any_system, JobList(order=Order.ENDED, limit=limit))
        assert [one for page in pages for one in page] == expected
        assert all(len(page) <= limit for page in pages)
    first = JobList(order=Order.ENDED, limit=2)
    page = tasks.list_page(first, runtime=runtime)
    tasks.retry(ids[3], runtime=runtime)
    _ended(any_system, 9, 60)
    rest = JobList(order=Order.ENDED, limit=10, cursor=page.next_cursor)
    found = [view.job.id for view in tasks.list_page(rest, runtime=runtime).views]
    assert found == [ids[2], ids[4], ids[1]]
    for wanted, some in (
        (JobList(user_id="bob"), [ids[0], ids[2], ids[4]]),
        (JobList(states=frozenset({S.COMPLETED})), [ids[4], ids[1]]),
        (JobList(host="127.0.0.1", user_id="ada"), [ids[5], ids[1]]),
        (JobList(host="example.org"), []),
    ):
        by_end = replace(wanted, order=Order.ENDED)
        listed = [view.job.id for view in tasks.list_page(by_end, runtime=runtime).views]
        assert [one for one in listed if one in ids] == some


@pytest.mark.parametrize("position", ["", "x", "-1 {}", "1{}", "9999999999999999999 {}", "1.5 {}"])
def test_a_forged_position_among_ends_is_refused(system: System, position: str) -> None:
    wanted = JobList(order=Order.ENDED)
    cursor = wanted.cursor_after(position.format(new_job_id()))
    with pytest.raises(InvalidInputError, match="cursor"):
        tasks.list_page(replace(wanted, cursor=cursor), runtime=system.runtime)


def test_running_jobs_are_listed_by_their_speed(system: System) -> None:
    runtime = system.runtime
    system.submit(f"{URL}/queued")
    ids = []
    for number, speed in enumerate((5.0, 20.0, 10.0)):
        job = system.submit(f"{URL}/{number}", user_id="ada")
        (claimed,) = runtime.jobs.perform([Claim(job.id, "w", runtime.now())])
        with runtime.database.write() as connection:
            values = {"speed_mbps": speed}
            connection.execute(update(jobs).where(jobs.c.id == claimed.id).values(values))
        ids.append(job.id)
    for limit, expected in ((50, [ids[1], ids[2], ids[0]]), (2, [ids[1], ids[2]])):
        page = tasks.list_page(JobList(order=Order.SPEED, limit=limit), runtime=runtime)
        assert [view.job.id for view in page.views] == expected
        assert page.next_cursor is None
    nothing = tasks.list_page(JobList(order=Order.SPEED, user_id="bob"), runtime=runtime)
    assert nothing.views == []


#: Name, size, priority and state of jobs, the oldest first; the name of a job without one is its URL's.
_RANKED = (
    ("b.mkv", 10, "low", S.QUEUED),
    ("A.mkv", 30, "normal", S.FAILED),
    (None, None, "high", S.PAUSED),
    ("c d.mkv", 10, "high", S.COMPLETED),
    ("B.mkv", None, "normal", S.COMPLETED),
    ("a" * 150, 2**63 - 1, "low", S.QUEUED),
)
#: The numbers of these jobs in each order.
_IN_ORDER = {
    Order.SIZE: [5, 1, 3, 0, 4, 2],
    Order.NAME: [1, 5, 4, 0, 3, 2],
    Order.PRIORITY: [3, 2, 4, 1, 5, 0],
}


def _ranked_jobs(system: System) -> list[str]:
    ids = []
    for name, size, priority, state in _RANKED:
        job = system.submit(f"{URL}/z%20z.mkv?{new_job_id()}", name=name, priority=priority)
        with system.runtime.database.write() as connection:
            values = {"bytes_total": size, "status": state.value}
            connection.execute(update(jobs).where(jobs.c.id == job.id).values(values))
        ids.append(job.id)
    return ids


@pytest.mark.parametrize("order", _IN_ORDER)
def test_short_lists_are_ordered_by_values_without_index(any_system: System, order: Order) -> None:
    """Each job is on one page while jobs arrive and leave, also the one where a page ended."""
    ids, runtime = _ranked_jobs(any_system), any_system.runtime
    expected = [ids[number] for number in _IN_ORDER[order]]
    for limit in (1, 2, 5, 6, 7):
        pages = _all_pages(any_system, JobList(order=order, limit=limit))
        assert [one for page in pages for one in page] == expected
        assert all(len(page) <= limit for page in pages)
    for wanted, chosen in (
        (JobList(states=frozenset({S.QUEUED, S.PAUSED})), {0, 2, 5}),
        (JobList(priority=Priority.HIGH), {2, 3}),
        (JobList(search="B.mkv"), {0, 4}),
        (JobList(user_id="none"), set()),
    ):
        (page,) = _all_pages(any_system, replace(wanted, order=order))
        assert page == [one for one in expected if ids.index(one) in chosen]
    first = tasks.list_page(JobList(order=order, limit=3), runtime=runtime)
    _ranked_jobs(any_system)
    with runtime.database.write() as connection:
        connection.execute(delete(jobs).where(jobs.c.id == expected[2]))
    rest = JobList(order=order, limit=50, cursor=first.next_cursor)
    found = [view.job.id for view in tasks.list_page(rest, runtime=runtime).views]
    assert [one for one in found if one in ids] == expected[3:]


@pytest.mark.parametrize("order", _IN_ORDER)
def test_a_list_that_is_too_long_for_an_order_is_refused(system: System, order: Order) -> None:
    ids = _ranked_jobs(system)
    query, runtime = JobList(order=order).query(), system.runtime
    assert len(runtime.jobs.page(replace(query, rows=len(ids))).jobs) == len(ids)
    for fewer in ({}, {"priority": Priority.HIGH}, {"text": "nothing has this"}):
        with pytest.raises(InvalidInputError, match="choose fewer by state, host or user"):
            runtime.jobs.page(replace(query, rows=len(ids) - 1, **fewer))
    one_state = replace(query, rows=2, statuses=frozenset({S.COMPLETED}))
    assert len(runtime.jobs.page(one_state).jobs) == 2


def test_a_cursor_shows_no_secret_of_a_url(system: System) -> None:
    for number in range(2):
        system.submit(f"{URL}/secret-of-{number}", secret_url=True)
    page = tasks.list_page(JobList(order=Order.NAME, limit=1), runtime=system.runtime)
    assert page.next_cursor is not None
    assert b"secret-of" not in base64.urlsafe_b64decode(page.next_cursor + "==")


def test_filters_select_jobs(any_system: System) -> None:
    ada = any_system.submit(f"{URL}/a", user_id="ada", priority="low").id
    bob = any_system.submit("http://example.org/b", user_id="bob").id
    paused = any_system.submit(f"{URL}/c", user_id="ada").id
    tasks.pause(paused, runtime=any_system.runtime)
    for wanted, expected in (
        (JobList(user_id="ada"), [paused, ada]),
        (JobList(user_id="nobody-of-that-name"), []),
        (JobList(host="example.org"), [bob]),
        (JobList(states=frozenset({S.PAUSED, S.FAILED})), [paused]),
        (JobList(states=frozenset({S.QUEUED}), user_id="ada"), [ada]),
        (JobList(priority=Priority.LOW), [ada]),
        (JobList(priority=Priority.HIGH), []),
        (JobList(search="/A"), [ada]),
        (JobList(search="example.org"), [bob]),
    ):
        found = [one for page in _all_pages(any_system, wanted) for one in page]
        assert found == expected, wanted


@pytest.mark.parametrize(
    ("text", "is_found"),
    [
        ("/Film", True),
        ("FILM.MKV", True),
        ("größe", True),
        ("GRÖßE", True),
        ("gr%C3%B6", True),
        ("name of it.bin", True),
        ("page=7", True),
        ("sig=", True),
        ("hunter2", False),
        ("sig=h", False),
        ("part-of-secret", False),
        ("example.org", True),
        ("%", True),
        ("_", False),
    ],
)
def test_what_is_shown_of_a_url_can_be_searched_and_its_secrets_cannot(
    repo: JobRepository, text: str, is_found: bool
) -> None:
    repo.add(
        [
            new_job(url="https://example.org/Film.mkv?page=7&sig=hunter2", name=None),
            new_job(url="https://127.0.0.1/gr%C3%B6%C3%9Fe", name="Name of It.bin"),
            new_job(url="https://127.0.0.1/part-of-secret", name=None, secret_url=True),
        ]
    )
    assert bool(repo.page(PageQuery(text=text)).jobs) is is_found


def test_a_search_reads_a_bounded_number_of_jobs_and_goes_on(repo: JobRepository) -> None:
    jobs = [new_job(url=f"https://example.org/{n}/x?sig=hunter2") for n in range(9)]
    repo.add(jobs)
    ends, found = [], []
    for text in ("/0/x", "hunter2"):
        page = repo.page(PageQuery(text=text, rows=4))
        while page.last_id is not None:
            ends.append(page.last_id)
            found += page.jobs
            page = repo.page(PageQuery(text=text, rows=4, after_id=page.last_id))
        found += page.jobs
    assert [job.id for job in found] == [jobs[0].id]
    # Where a page ends does not depend on a text that is not shown.
    assert ends == 2 * [jobs[5].id, jobs[1].id]


@pytest.mark.parametrize(
    "cursor",
    ["", "x", "e30", "W10", "\x00", "ä", "WzEsInh4IiwieCJd", "A" * 10_000, "W" * 4, "[[[[" * 9],
)
def test_a_forged_cursor_is_refused(system: System, cursor: str) -> None:
    with pytest.raises(InvalidInputError, match="cursor"):
        tasks.list_page(JobList(cursor=cursor), runtime=system.runtime)


def test_a_cursor_is_for_the_list_that_it_came_from(system: System) -> None:
    cursor = JobList(user_id="ada").cursor_after(new_job_id())
    tasks.list_page(JobList(user_id="ada", cursor=cursor), runtime=system.runtime)
    for other in (JobList(cursor=cursor), JobList(user_id="ada", search="x", cursor=cursor)):
        with pytest.raises(InvalidInputError, match="another filter"):
            tasks.list_page(other, runtime=system.runtime)


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        (JobList(search=""), "search"),
        (JobList(search="a\x00"), "search"),
        (JobList(search="\ud800"), "search"),
        (JobList(search="x" * 201), "search"),
        (JobList(limit=0), "limit"),
        (JobList(limit=501), "limit"),
        (JobList(order=Order.ENDED, states=frozenset({S.QUEUED})), "sort"),
        (JobList(order=Order.ENDED, states=frozenset({S.FAILED, S.PAUSED})), "sort"),
        (JobList(order=Order.ENDED, search="x"), "sort"),
        (JobList(order=Order.ENDED, priority=Priority.LOW), "sort"),
        (JobList(order=Order.SPEED, states=frozenset({S.COMPLETED})), "sort"),
        (JobList(order=Order.SPEED, search="x"), "sort"),
        (JobList(order=Order.SPEED, cursor="x"), "cursor"),
    ],
)
def test_wrong_lists_are_refused(system: System, wanted: JobList, field: str) -> None:
    with pytest.raises(InvalidInputError, match=field):
        tasks.list_page(wanted, runtime=system.runtime)


def test_totals_of_all_and_of_one_user(any_system: System) -> None:
    for number in range(3):
        any_system.submit(f"{URL}/{number}", user_id="ada")
    tasks.pause(any_system.submit(f"{URL}/b", user_id="bob").id, runtime=any_system.runtime)
    every = tasks.totals(runtime=any_system.runtime)
    assert (every.jobs, every.active) == ({S.QUEUED: 3, S.PAUSED: 1}, 0)
    ada = tasks.totals(user_id="ada", runtime=any_system.runtime)
    assert (ada.jobs, ada.at_least, ada.bytes_per_second) == ({S.QUEUED: 3}, frozenset(), 0)
    assert any_system.runtime.jobs.count_of_user("ada", at_most=2) == {S.QUEUED: 2}
