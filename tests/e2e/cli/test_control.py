"""Controlling jobs as a person does, and priorities as a worker serves them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from database import Database, JobRepository
from domain.job import Job, JobStatus
from tests.support.origins.origin import Origin
from tests.support.services.operations import claim
from tests.support.services.seen import Seen
from tests.support.services.system import System
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until

URL = "http://127.0.0.1:9"


@pytest.fixture
def seen(tmp_path: Path, store: StoreServer) -> Iterator[Seen]:
    """A person with a store and without workers: submitted jobs stay queued."""
    settings = {"SEEN_CACHE_ADDR": store.addr, "SEEN_CACHE_PASSWORD": store.password}
    with Seen(tmp_path, **settings) as person:
        yield person


def add(seen: Seen, *arguments: str) -> list[str]:
    return seen.good("add", *arguments).out.split()


def states(seen: Seen) -> dict[str, str]:
    return {one["id"]: one["status"] for one in seen.good("list", "--json").json()}


def test_jobs_are_changed_by_id(seen: Seen) -> None:
    one, other = add(seen, f"{URL}/a", f"{URL}/b")
    assert seen.good("pause", one, other).out.split("\n")[:2] == [
        f"{one} paused",
        f"{other} paused",
    ]
    assert seen.good("pause", one[:-1].upper()).out.strip() == f"{one} paused"
    refused = seen.run("cancel", other, one[:8])  # both begin so
    assert refused.status == 2
    assert f"Several ids begin with '{one[:8]}'" in refused.error_line()
    assert set(states(seen).values()) == {"paused"}
    seen.good("cancel", other)
    mixed = seen.run("resume", one, other)
    assert mixed.status == 2
    assert mixed.out.strip() == f"{one} queued"
    assert "is cancelled" in mixed.error_line()
    shown: dict[str, Any] = seen.run("resume", one, other, "--json").json()
    assert [job["id"] for job in shown["unchanged"]] == [one]
    assert [(job["id"], job["code"]) for job in shown["refused"]] == [(other, "illegal_transition")]
    assert seen.good("retry", other).out.strip() == f"{other} queued"


def test_finished_jobs_are_removed(seen: Seen) -> None:
    one, other = add(seen, f"{URL}/a", f"{URL}/b")
    seen.good("cancel", one)
    assert "--file needs ids" in seen.run("rm", "--file", "--all").error_line()
    removed = seen.run("rm", one[:-1], other, "--file", "--json")
    assert removed.status == 2
    assert removed.json()["removed"] == [one]
    (refused,) = removed.json()["refused"]
    assert (refused["id"], refused["code"]) == (other, "illegal_transition")
    assert refused["message"].endswith("it cannot be removed. Cancel it first.")
    assert states(seen) == {other: "queued"}
    seen.good("cancel", other)
    assert seen.good("rm", "--all").out == "1 removed\n"


def test_jobs_are_changed_by_filter(seen: Seen) -> None:
    mine = add(seen, f"{URL}/a", f"{URL}/b", "--owner", "ann")
    (other,) = add(seen, "http://192.0.2.1/c")
    assert seen.good("pause", "--owner", "ann").out == "2 paused\n"
    assert states(seen) == {**dict.fromkeys(mine, "paused"), other: "queued"}
    assert seen.good("cancel", "--host", "192.0.2.1").out == "1 cancelled\n"
    assert seen.good("resume", "--status", "paused", "--owner", "bob").out == (
        "There are no such jobs to resume.\n"
    )
    shown = seen.good("resume", "--all", "--json").json()
    assert {job["id"] for job in shown["changed"]} == set(mine)
    assert [one["id"] for one in seen.good("list", "--host", "192.0.2.1", "--json").json()] == [
        other
    ]


def test_user_is_still_accepted_as_the_former_name_of_owner(seen: Seen) -> None:
    (job,) = add(seen, f"{URL}/a", "--owner", "ann")
    for command in ("list", "pause"):
        result = seen.good(command, "--user", "ann", "--json")
        assert job in result.out
        assert result.err == "seen: --user is now --owner here; the next version refuses it.\n"
    both = seen.run("pause", "--user", "ann", "--owner", "ann")
    assert (both.status, "--owner" in both.error_line()) == (2, True)
    as_owner = seen.run("add", f"{URL}/b", "--user", "ann")
    assert (as_owner.status, "--owner" in as_owner.error_line()) == (2, True)


@pytest.mark.parametrize("command", ["pause", "resume", "cancel", "retry"])
def test_missing_or_contradictory_selection_changes_nothing(seen: Seen, command: str) -> None:
    (job,) = add(seen, f"{URL}/a")
    for arguments in ((), (job, "--all"), (job, "--owner", "ann"), (job, "not-a-job")):
        result = seen.run(command, *arguments)
        assert result.status == 2
        assert result.error_line()
    assert states(seen) == {job: "queued"}


HOW = "by --owner, --host, --status or --all"


#: What is asked wrongly, the code of its error, and words of its message.
WRONG: list[tuple[list[str], str, str]] = [
    (["cancel"], "refused", f"Give ids, or select jobs {HOW}."),
    (["cancel", "JOB", "--all"], "refused", f"Give ids, or select jobs {HOW}: not both."),
    (["move", "--to", "high"], "refused", f"Give ids, or select jobs {HOW}."),
    (["move", "--all"], "usage", "Missing option '--to'. Choose from: high, normal, low."),
    (
        ["move", "JOB", "--to", "urgent"],
        "usage",
        "'urgent' is not one of 'high', 'normal', 'low'.",
    ),
    (
        ["list", "--status", "foo"],
        "usage",
        "for '--status': 'foo' is not one of 'queued', 'down",
    ),
    (
        ["pause", "--status", "foo"],
        "usage",
        "for '--status': 'foo' is not one of 'queued', 'down",
    ),
    (["pause", "--status", "completed"], "invalid_input", "Completed jobs cannot be paused."),
    (["retry", "--status", "paused"], "invalid_input", "Paused jobs cannot be retried."),
    (
        ["move", "--status", "failed", "--to", "low"],
        "invalid_input",
        "Failed jobs cannot be moved.",
    ),
    (["cancel", "--host", "http://x/"], "invalid_input", "without scheme, port or path."),
    (["list", "--host", "http://x/"], "invalid_input", "without scheme, port or path."),
    (["retry", "JOB"], "illegal_transition", "is paused: it cannot be retried."),
    (["resume", "x"], "unknown_job", "There is no job 'x'."),
]


def test_wrong_arguments_are_reported_in_a_sentence(seen: Seen) -> None:
    (job,) = add(seen, f"{URL}/a")
    seen.good("pause", job)
    for wrong, code, message in WRONG:
        arguments = [job if one == "JOB" else one for one in wrong]
        result = seen.run(*arguments)
        assert (result.status, result.out) == (2, "")
        assert message in result.error_line()
        assert "Value error" not in result.err
        assert "None" not in result.err
        as_json = seen.run(*arguments, "--json")
        assert (as_json.status, as_json.err) == (2, "")
        shown = as_json.json()
        error = shown["error"] if "error" in shown else shown["refused"][0]
        assert error["code"] == code
        assert message in error["message"]
    assert states(seen) == {job: "paused"}


def test_the_same_request_is_reported_and_not_added(seen: Seen) -> None:
    (job,) = add(seen, f"{URL}/a")
    again = seen.good("add", f"{URL}/./a")
    assert again.out.strip() == job
    assert again.err.strip() == f"seen: {job} exists already, queued; it was not added again."
    (shown,) = seen.good("add", f"{URL}/a", "--json").json()
    assert (shown["id"], shown["is_new"]) == (job, False)
    assert list(states(seen)) == [job]


def test_an_idempotency_key_is_for_one_request(seen: Seen) -> None:
    (job,) = add(seen, f"{URL}/a", "--idempotency-key", "order 7")
    seen.good("cancel", job)
    assert add(seen, f"{URL}/a", "--idempotency-key", "order 7") == [job]
    other = seen.run("add", f"{URL}/b", "--idempotency-key", "order 7")
    assert (other.status, other.out) == (2, "")
    assert job in other.error_line()
    assert seen.run("add", f"{URL}/b", f"{URL}/c", "--idempotency-key", "k").status == 2
    assert list(states(seen)) == [job]


@pytest.fixture
def repo(seen: Seen) -> Iterator[JobRepository]:
    """The person's jobs, for what a worker would do with them."""
    database = Database(f"sqlite:///{seen.data_dir / 'seen.db'}")
    yield JobRepository(database)
    database.close()


def claimed(repo: JobRepository, job_id: str) -> Job:
    job = claim(repo, job_id, worker="w", now=datetime.now(UTC))
    assert job is not None
    return job


def test_the_same_request_after_a_cancel_is_a_new_job(seen: Seen, repo: JobRepository) -> None:
    (job,) = add(seen, f"{URL}/a", "--idempotency-key", "order 7")
    claimed(repo, job)
    assert seen.good("cancel", job).out == f"{job} downloading (cancel requested)\n"
    again = seen.good("add", f"{URL}/a")
    assert again.out.strip() != job
    assert again.err == ""
    # A key leads to its own job, and says what becomes of it.
    keyed = seen.good("add", f"{URL}/a", "--idempotency-key", "order 7")
    assert (keyed.out.strip(), keyed.err.strip()) == (
        job,
        f"seen: {job} exists already, downloading (cancel requested); it was not added again.",
    )
    assert states(seen) == {again.out.strip(): "queued", job: "downloading"}


def test_get_withdraws_a_pending_pause(seen: Seen, repo: JobRepository) -> None:
    (job,) = add(seen, f"{URL}/a")
    running = claimed(repo, job)
    assert seen.good("pause", job).out == f"{job} downloading (pause requested)\n"
    process = seen.start("get", f"{URL}/a")
    wait_until(lambda: repo.get(job).control is None)
    assert repo.transition(running, JobStatus.FAILED, now=datetime.now(UTC), reason="enough")
    assert process.wait(30) == 1
    assert "continuing an earlier download" in seen.printed


def test_jobs_are_moved_between_queues(seen: Seen) -> None:
    (job,) = add(seen, f"{URL}/a", "--priority", "low")
    broker = {one["check"]: one for one in seen.run("doctor", "--json").json()}["broker"]
    assert "0 requeued, 0 high, 0 normal, 1 low" in broker["message"]
    moved = seen.good("move", job, "--to", "high", "--json").json()
    assert [one["priority"] for one in moved["changed"]] == ["high"]
    assert seen.good("move", "--all", "--to", "high").out == ("There are no such jobs to move.\n")
    shown = seen.good("show", job).out
    assert "moved from low to high" in shown
    assert seen.run("move", job, "--to", "urgent").status == 2
    assert seen.run("move", job).status == 2
    assert seen.good("move", job, "--to", "low").out == f"{job} queued, low\n"
    assert seen.good("move", job, "--to", "low").out == f"{job} queued, low\n"
    assert seen.good("move", "--all", "--to", "normal").out == "1 queued, normal\n"
    seen.good("cancel", job)
    refused = seen.run("move", job, "--to", "low")
    assert refused.status == 2
    assert "is cancelled" in refused.error_line()


def test_a_worker_takes_high_before_normal_before_low(
    tmp_path: Path, private_store: StoreServer, origin: Origin
) -> None:
    with System(tmp_path, private_store) as system:
        order = ["low", "normal", "high"] * 4
        jobs = [
            system.submit(origin.serve(f"/{number}-{name}", size=100).url, priority=name)
            for number, name in enumerate(order)
        ]
        system.start_worker(concurrency=1)
        for job in jobs:
            system.wait_for(job, JobStatus.COMPLETED)
        wait_until(lambda: len(origin.requests) == len(jobs))
        served = [request.path.rpartition("-")[2] for request in origin.requests]
        # Every fourth message is looked for elsewhere first; the last ones are all low.
        assert served[:3] == ["high", "high", "normal"]
        assert served.index("low") > 5
        assert served[-2:] == ["low", "low"]
        assert sorted(served) == sorted(order)
