"""Submitting by HTTP: repeated with an Idempotency-Key, and answered when the job has ended."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

import tasks
from api import waiting
from api.waiting import MAX_WAIT, preferred_wait
from domain.ids import new_job_id
from tests.support.services.http_api import HttpApi
from tests.support.wait import wait_until

DOWNLOADS = "/v1/downloads"


def _url() -> str:
    return f"https://example.org/{new_job_id()}"


def _keyed(api: HttpApi, body: Any, key: str, user: str = "ada") -> tuple[int, Any, bool]:
    headers = {"Idempotency-Key": key}
    answer = api.client(user).post(DOWNLOADS, json=body, headers=headers)
    return answer.status_code, answer.json(), "idempotency-replayed" in answer.headers


def test_a_repeated_key_gets_the_first_answer(api: HttpApi) -> None:
    for body in ({"url": _url()}, {"downloads": [{"url": _url()}, {"url": _url()}]}):
        key = new_job_id()
        status, first, is_replayed = _keyed(api, body, key)
        assert (status in {200, 201}, is_replayed) == (True, False)
        written = api.written()
        assert _keyed(api, body, key) == (status, first, True)
        assert api.written() == written


@pytest.mark.parametrize(
    "change", [{"max_attempts": 3}, {"priority": "low"}, {"url": "https://example.org/other"}]
)
def test_a_key_with_another_body_is_refused(api: HttpApi, change: dict[str, Any]) -> None:
    """Also where deduplication would make no difference between both."""
    body, key = {"url": _url()}, new_job_id()
    _keyed(api, body, key)
    written = api.written()
    status, problem, _ = _keyed(api, {**body, **change}, key)
    assert (status, problem["code"]) == (422, "idempotency_key_reused")
    assert _keyed(api, {"downloads": [body]}, key)[0] == 422
    assert api.written() == written


def test_keys_of_two_users_have_nothing_to_do_with_each_other(api: HttpApi) -> None:
    body, key = {"url": _url()}, new_job_id()
    mine, theirs = _keyed(api, body, key, "ada")[1], _keyed(api, body, key, "eve")[1]
    assert mine["id"] != theirs["id"]


def test_a_refused_request_leaves_its_key_free(api: HttpApi) -> None:
    key = new_job_id()
    assert _keyed(api, {"url": "x"}, key)[0] == 422
    assert _keyed(api, {"url": _url()}, key)[0] == 201


def test_a_request_that_was_cut_off_is_finished_by_its_repetition(api: HttpApi) -> None:
    """As after a crash between the jobs and the answer: the jobs are found, none is doubled."""
    body, key = {"downloads": [{"url": _url()}, {"url": _url()}]}, new_job_id()
    first = _keyed(api, body, key)[1]
    with api.system.runtime.database.write() as connection:
        connection.exec_driver_sql("UPDATE idempotent_requests SET status = NULL, response = NULL")
    for shown in first["results"]:  # finished jobs are no longer found as duplicates
        tasks.cancel(shown["download"]["id"], runtime=api.system.runtime)
    again = _keyed(api, body, key)[1]
    ids = [one["download"]["id"] for one in first["results"]]
    assert [one["download"]["id"] for one in again["results"]] == ids
    assert [one["is_new"] for one in again["results"]] == [False, False]


def test_concurrent_requests_with_one_key_are_one(api: HttpApi) -> None:
    body, key = {"url": _url()}, new_job_id()
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: _keyed(api, body, key), range(8)))
    assert len({answer["id"] for _, answer, _ in found}) == 1


def test_a_thousand_downloads_are_one_request(api: HttpApi) -> None:
    many = {"downloads": [{"url": _url()} for _ in range(1000)]}
    found = api.client("ada").post(DOWNLOADS, json=many).json()
    assert (found["accepted"], len(found["results"])) == (1000, 1000)


def test_an_answer_waits_until_the_job_has_ended(api: HttpApi) -> None:
    body = {"url": _url()}
    answers: list[Any] = []

    def submit() -> None:
        headers = {"Prefer": "wait=20"}
        answers.append(api.client("ada").post(DOWNLOADS, json=body, headers=headers))

    thread = threading.Thread(target=submit)
    thread.start()
    job = wait_until(lambda: _find(api, body["url"]), deadline=20, what="the job is stored")
    assert job is not None
    tasks.cancel(job, runtime=api.system.runtime)
    thread.join(timeout=20)
    assert answers[0].json()["status"] == "cancelled"
    assert answers[0].headers["preference-applied"] == "wait=20"


def _find(api: HttpApi, url: str) -> str | None:
    found = api.client("root").get(DOWNLOADS, params={"search": url[-36:]}).json()["downloads"]
    return found[0]["id"] if found else None


def test_an_answer_waits_no_longer_than_asked(api: HttpApi) -> None:
    started = time.monotonic()
    headers = {"Prefer": "respond-async, wait=1"}
    answer = api.client("ada").post(DOWNLOADS, json={"url": _url()}, headers=headers)
    assert (answer.status_code, answer.json()["status"]) == (201, "queued")
    assert time.monotonic() - started >= 1


def test_a_user_has_only_so_many_answers_that_wait(
    api: HttpApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "MOST_OF_ONE", 1)

    def submit(user: str, url: str, seconds: int) -> bool:
        headers = {"Prefer": f"wait={seconds}"}
        answer = api.client(user).post(DOWNLOADS, json={"url": url}, headers=headers)
        return "preference-applied" in answer.headers

    first = _url()
    with ThreadPoolExecutor() as pool:
        waits = pool.submit(submit, "ada", first, 30)
        job = wait_until(lambda: _find(api, first), deadline=20, what="the job is stored")
        assert job is not None
        wait_until(lambda: not submit("ada", _url(), 1), deadline=20, what="another does not wait")
        assert submit("eve", _url(), 1)
        tasks.cancel(job, runtime=api.system.runtime)
        assert waits.result(timeout=20)
    assert submit("ada", _url(), 1)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("", None),
        ("wait=5", 5.0),
        ("respond-async; wait=5", 5.0),
        ('Wait = "7"', 7.0),
        ("wait=100000", MAX_WAIT),
        ("wait=-1", None),
        ("wait=1e9", None),
        ("await=5", None),
        ("wait=", None),
        ("wait=" + "9" * 400, None),
    ],
)
def test_preferences(header: str | None, seconds: float | None) -> None:
    assert preferred_wait(header) == seconds


def test_answers_do_not_wait_for_acknowledgements(api: HttpApi) -> None:
    """Nagle's algorithm would delay each by 40 ms; the fastest of many shows it on a busy machine."""

    def once() -> float:
        started = time.monotonic()
        assert api.client().get("/healthz").status_code == 200
        return time.monotonic() - started

    assert min(once() for _ in range(20)) < 0.03


def test_a_repetition_does_not_get_an_outage_again(api: HttpApi) -> None:
    ada, key = api.client("ada"), {"Idempotency-Key": new_job_id()}
    body = {"downloads": [{"url": f"https://example.org/{new_job_id()}"}], "mode": "each"}
    with _without_jobs(api):
        (result,) = ada.post("/v1/downloads", json=body, headers=key).json()["results"]
        assert result["problem"]["status"] == 503
    for is_replayed in (False, True):
        again = ada.post("/v1/downloads", json=body, headers=key)
        assert ("idempotency-replayed" in again.headers) is is_replayed
        assert again.json()["accepted"] == 1


@contextmanager
def _without_jobs(api: HttpApi) -> Iterator[None]:
    """The table of jobs is away meanwhile: nothing can be submitted, but the rest works."""
    _rename(api, "jobs", "away")
    try:
        yield
    finally:
        _rename(api, "away", "jobs")


def _rename(api: HttpApi, old: str, new: str) -> None:
    with api.system.runtime.database.write() as connection:
        connection.exec_driver_sql(f"ALTER TABLE {old} RENAME TO {new}")
