"""A delivery is written in the transaction that ends a job, whatever ends it; one sender claims it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import text, update

from database import Database, JobRepository
from database.changes import Change
from database.models import jobs
from database.operations import Claim, Transition
from database.retention import Retention
from database.webhooks import Attempt, Delivery, DeliveryState, Outbox, Receivers, Target
from domain.job import FINISHED, Job, JobStatus
from tests.support.build import NOW, new_job

_S = JobStatus
LEASE = timedelta(minutes=2)
HOOK = "https://hooks.example.org:8443/services/T0/secret?x=1"


@pytest.fixture
def outbox(repo: JobRepository, database: Database) -> Outbox:
    """The outbox of an empty database."""
    return Outbox(database)


@pytest.fixture
def receivers(repo: JobRepository, database: Database) -> Receivers:
    """The receivers of an empty database."""
    return Receivers(database)


def added(repo: JobRepository, **fields: object) -> Job:
    return repo.add([new_job(**{"webhook": HOOK, **fields})])[0]


def claimed(repo: JobRepository, job: Job) -> Job:
    (found,) = repo.perform([Claim(job.id, "w", NOW)])
    assert isinstance(found, Job)
    return found


def moved(repo: JobRepository, job: Job, *states: JobStatus, **fields: object) -> Job:
    for state in states:
        changed = repo.transition(job, state, now=NOW, **fields)  # type: ignore[arg-type]
        assert changed is not None
        job = changed
    return job


def cancelled_by_request(repo: JobRepository, job: Job, to: JobStatus) -> Job:
    """End an attempt in another way, while a cancel is pending."""
    running = claimed(repo, job)
    repo.request_control([running], "cancel")
    return moved(repo, running, to)


def ended_by_the_version_before(repo: JobRepository, job: Job) -> None:
    running = claimed(repo, job)
    change = {"status": "failed", "finished_at": NOW, "updated_at": NOW}
    with repo._database.write() as connection:
        connection.execute(update(jobs).where(jobs.c.id == running.id).values(change))


def ended_in_a_group(repo: JobRepository, job: Job) -> None:
    others = [claimed(repo, added(repo, webhook=None)) for _ in range(3)]
    group = [*others, claimed(repo, job)]
    repo.perform([Transition(one, Change(_S.FAILED, NOW, "no")) for one in group])


#: Ways in which a job gets a state, and the deliveries that are due then.
WAYS: dict[str, tuple[Callable[[JobRepository, Job], object], list[JobStatus]]] = {
    "queued": (lambda repo, job: None, []),
    "claimed": (claimed, []),
    "verifying": (lambda repo, job: moved(repo, claimed(repo, job), _S.VERIFYING), []),
    "waiting": (lambda repo, job: moved(repo, claimed(repo, job), _S.WAITING), []),
    "requeued": (lambda repo, job: moved(repo, claimed(repo, job), _S.QUEUED), []),
    "paused": (lambda repo, job: moved(repo, job, _S.PAUSED), []),
    "completed": (
        lambda repo, job: moved(repo, claimed(repo, job), _S.VERIFYING, _S.COMPLETED),
        [_S.COMPLETED],
    ),
    "failed": (lambda repo, job: moved(repo, claimed(repo, job), _S.FAILED), [_S.FAILED]),
    "cancelled while queued": (lambda repo, job: moved(repo, job, _S.CANCELLED), [_S.CANCELLED]),
    "cancelled while paused": (
        lambda repo, job: moved(repo, job, _S.PAUSED, _S.CANCELLED),
        [_S.CANCELLED],
    ),
    "cancelled while waiting": (
        lambda repo, job: moved(repo, claimed(repo, job), _S.WAITING, _S.CANCELLED),
        [_S.CANCELLED],
    ),
    "cancelled where it would fail": (
        lambda repo, job: cancelled_by_request(repo, job, _S.FAILED),
        [_S.CANCELLED],
    ),
    "cancelled where it would be queued": (
        lambda repo, job: cancelled_by_request(repo, job, _S.QUEUED),
        [_S.CANCELLED],
    ),
    "cancelled by its worker": (
        lambda repo, job: moved(repo, claimed(repo, job), _S.CANCELLED),
        [_S.CANCELLED],
    ),
    "failed in a group": (ended_in_a_group, [_S.FAILED]),
    "ended by many at once": (
        lambda repo, job: repo.transition_many([claimed(repo, job)], _S.FAILED, now=NOW),
        [_S.FAILED],
    ),
    "ended by the version before": (ended_by_the_version_before, [_S.FAILED]),
    "retried, and ended again": (
        lambda repo, job: moved(
            repo,
            claimed(repo, moved(repo, claimed(repo, job), _S.FAILED, _S.QUEUED)),
            _S.VERIFYING,
            _S.COMPLETED,
        ),
        [_S.FAILED, _S.COMPLETED],
    ),
}


def test_the_ways_end_in_each_final_state() -> None:
    assert {state for _, ends in WAYS.values() for state in ends} == FINISHED


@pytest.mark.parametrize("way", WAYS)
def test_each_end_is_a_delivery_and_nothing_else_is(
    repo: JobRepository, outbox: Outbox, way: str
) -> None:
    work, ends = WAYS[way]
    work(repo, added(repo))
    found = outbox.find()[::-1]
    assert [one.event for one in found] == ends
    assert all(one.state is DeliveryState.PENDING and one.ended_at == NOW for one in found)


def test_nothing_is_written_if_the_transaction_that_ends_the_job_fails(
    repo: JobRepository, outbox: Outbox
) -> None:
    job = claimed(repo, added(repo))

    def work() -> None:
        with repo._database.write() as connection:
            connection.execute(update(jobs).where(jobs.c.id == job.id).values(status="failed"))
            connection.execute(text("SELECT no_such_column"))

    with pytest.raises(Exception, match="no_such_column"):
        work()
    assert outbox.find() == []


def test_a_delivery_has_the_job_as_it_was_at_its_end(repo: JobRepository, outbox: Outbox) -> None:
    job = added(
        repo,
        user_id="ada",
        mirrors=("https://mirror.example.org/a?b=\"'\\ü",),
        secrets="username,password gAAAA",
        overwrite=True,
        host="example.com",
    )
    failed = moved(repo, claimed(repo, job), _S.FAILED, reason="It is gone.")
    moved(repo, failed, _S.QUEUED)
    (delivery,) = outbox.find()
    kept = replace(
        failed,
        webhook="https://hooks.example.org:8443/",
        secrets="username,password",
        dedup_key=None,
        speed_mbps=0.0,
    )
    assert delivery.job == kept
    assert delivery.url == HOOK
    assert delivery.host == "hooks.example.org:8443"
    assert (delivery.user_id, delivery.target) == ("ada", Target.JOB)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://example.org/secret/path?key=1", "https://example.org/"),
        ("https://example.org:8443?key=1", "https://example.org:8443/"),
        ("http://[2001:db8::1]:81/a://b", "http://[2001:db8::1]:81/"),
        ("https://example.org#secret", "https://example.org/"),
    ],
)
def test_no_part_of_a_secret_url_is_kept(
    repo: JobRepository, outbox: Outbox, url: str, shown: str
) -> None:
    job = added(repo, url=url, secret_url=True, mirrors=(url,), webhook=url)
    moved(repo, claimed(repo, job), _S.FAILED)
    (delivery,) = outbox.find()
    assert (delivery.job.url, delivery.job.mirrors, delivery.job.webhook) == (shown, (), shown)


USERS = "https://users.example.org/hook"


@pytest.mark.parametrize(
    ("fields", "targets"),
    [
        ({}, [Target.JOB]),
        ({"user_id": "ada"}, [Target.JOB, Target.USER]),
        ({"user_id": "ada", "webhook": None}, [Target.USER]),
        ({"user_id": "ada", "webhook": USERS}, [Target.JOB]),  # the same receiver, once
        ({"user_id": "bob", "webhook": None}, []),
        ({"user_id": "eve", "webhook": None}, []),  # removed
        ({"webhook": None}, []),
    ],
)
def test_a_job_and_its_owner_may_have_a_webhook(
    repo: JobRepository,
    outbox: Outbox,
    receivers: Receivers,
    fields: dict[str, object],
    targets: list[Target],
) -> None:
    receivers.set_url("ada", USERS, now=NOW)
    receivers.set_url("eve", USERS, now=NOW)
    receivers.set_url("eve", None, now=NOW)
    moved(repo, added(repo, **fields), _S.CANCELLED)
    assert [one.target for one in outbox.find()[::-1]] == targets


def test_jobs_without_owner_have_a_webhook_too(
    repo: JobRepository, outbox: Outbox, receivers: Receivers
) -> None:
    receivers.set_url("", USERS, now=NOW)
    moved(repo, added(repo, webhook=None), _S.CANCELLED)
    moved(repo, added(repo, webhook=None, user_id="ada"), _S.CANCELLED)
    assert [(one.target, one.user_id, one.url) for one in outbox.find()] == [
        (Target.USER, None, None)
    ]


def test_ends_are_kept_for_the_program_while_a_process_has_one(
    repo: JobRepository, outbox: Outbox, receivers: Receivers
) -> None:
    moved(repo, added(repo, webhook=None), _S.CANCELLED)
    receivers.note_program(NOW)
    moved(repo, added(repo), _S.CANCELLED)
    assert [one.target for one in outbox.find()[::-1]] == [Target.JOB, Target.PROGRAM]
    assert not receivers.forget_program(NOW)
    assert receivers.forget_program(NOW + LEASE)
    assert outbox.drop_program() == 1
    moved(repo, added(repo, webhook=None), _S.CANCELLED)
    assert [one.target for one in outbox.find()] == [Target.JOB]


# ── claims ──────────────────────────────────────────────────────────────────────────────────────


def ended(repo: JobRepository, **fields: object) -> Job:
    return moved(repo, added(repo, **fields), _S.CANCELLED)


def claim(outbox: Outbox, *, after: float = 0, limit: int = 10) -> list[Delivery]:
    now = NOW + timedelta(seconds=after)
    hosts = outbox.hosts_due(now)
    return [one for host in hosts for one in outbox.claim(host, now=now, lease=LEASE, limit=limit)]


def attempt(error: str | None = None) -> Attempt:
    return Attempt(at=NOW, status=None, error=error, seconds=0.5)


def test_a_claimed_delivery_is_claimed_again_only_after_its_lease(
    repo: JobRepository, outbox: Outbox
) -> None:
    ended(repo)
    (first,) = claim(outbox)
    assert claim(outbox) == claim(outbox, after=119) == []
    (second,) = claim(outbox, after=120)
    assert second.id == first.id
    assert not outbox.record(first, attempt(), DeliveryState.DELIVERED)  # its claim is over
    assert not outbox.release(first, NOW)
    assert outbox.record(second, attempt(), DeliveryState.DELIVERED)
    assert not outbox.record(second, attempt(), DeliveryState.GIVEN_UP)
    assert claim(outbox, after=10_000) == []
    done = outbox.get(first.id)
    assert done is not None
    assert (done.state, done.attempts, done.log) == (DeliveryState.DELIVERED, 1, (attempt(),))


def test_deliveries_of_a_job_are_claimed_in_order(repo: JobRepository, outbox: Outbox) -> None:
    job = ended(repo)
    moved(repo, job, _S.QUEUED, _S.CANCELLED)
    (first,) = claim(outbox)
    assert claim(outbox) == []
    later = NOW + timedelta(hours=1)
    outbox.record(first, attempt("no"), DeliveryState.PENDING, next_attempt_at=later)
    assert claim(outbox, after=60) == []  # the second one waits for the first
    (again,) = claim(outbox, after=3600)
    assert again.id == first.id
    outbox.record(again, attempt("no"), DeliveryState.GIVEN_UP)
    (second,) = claim(outbox, after=3600)
    assert second.id > first.id


def test_a_host_gets_as_many_as_it_has_room_for(repo: JobRepository, outbox: Outbox) -> None:
    for number in range(12):
        ended(repo, webhook=f"https://h{number % 3}.example.org/{number}")
    assert outbox.hosts_due(NOW) == [f"h{number}.example.org" for number in range(3)]
    assert len(claim(outbox, limit=2)) == 6
    assert len(claim(outbox, limit=2)) == 6
    assert outbox.hosts_due(NOW) == []


def test_send_again_makes_it_due_with_all_attempts(repo: JobRepository, outbox: Outbox) -> None:
    ended(repo)
    (first,) = claim(outbox)
    outbox.record(first, attempt("no"), DeliveryState.GIVEN_UP)
    again = outbox.send_again(first.id, NOW)
    assert again is not None
    assert (again.state, again.attempts, len(again.log)) == (DeliveryState.PENDING, 0, 1)
    (second,) = claim(outbox)
    assert second.message_id == first.message_id
    assert outbox.send_again(first.id + 1, NOW) is None


def test_pages_and_filters(repo: JobRepository, outbox: Outbox) -> None:
    mine = [ended(repo, user_id="ada") for _ in range(3)]
    ended(repo, user_id="bob")
    page = outbox.find(user_id="ada", limit=2)
    assert [one.job_id for one in page] == [mine[2].id, mine[1].id]
    rest = outbox.find(user_id="ada", limit=2, before=page[-1].id)
    assert [one.job_id for one in rest] == [mine[0].id]
    assert [one.job_id for one in outbox.find(job_id=mine[1].id)] == [mine[1].id]
    assert outbox.find(state=DeliveryState.DELIVERED) == []
    assert outbox.backlog() == 4


def test_a_removed_job_takes_with_it_what_is_delivered_and_nothing_else(
    repo: JobRepository, outbox: Outbox, database: Database
) -> None:
    delivered, pending = ended(repo), ended(repo)
    one = next(one for one in claim(outbox) if one.job_id == delivered.id)
    outbox.record(one, attempt(), DeliveryState.DELIVERED)
    Retention(database).delete_finished([delivered.id, pending.id])
    assert [one.job_id for one in outbox.find()] == [pending.id]
    assert outbox.purge_some(NOW + LEASE) == 0  # never one that is pending
    (left,) = claim(outbox, after=200)
    outbox.record(left, attempt(), DeliveryState.DELIVERED)
    assert outbox.purge_some(NOW) == 0
    assert outbox.purge_some(NOW + LEASE) == 1
    assert outbox.find() == []


def test_a_wrong_clock_delays_no_delivery_for_long(repo: JobRepository, outbox: Outbox) -> None:
    ended(repo)
    (one,) = claim(outbox, after=86_400 * 365)
    outbox.release(one, NOW + timedelta(days=365))
    assert outbox.correct_times(NOW, timedelta(days=1)) == 1
    assert len(claim(outbox)) == 1
