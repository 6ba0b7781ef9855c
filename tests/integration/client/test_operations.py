"""What each operation does on the real API, by both clients."""

from __future__ import annotations

import pickle
import threading
from pathlib import Path

import pytest

from domain.ids import new_job_id
from seen_client import (
    AuthenticationError,
    Client,
    ConflictError,
    DownloadRequest,
    ForbiddenError,
    InvalidRequestError,
    NotFoundError,
    Priority,
    Selection,
    Status,
    WaitTimeoutError,
)
from tests.support.clients.both import client_of
from tests.support.clients.samples import ID
from tests.support.services.http_api import HttpApi
from tests.support.wait import wait_until


def _url() -> str:
    return f"https://example.org/{new_job_id()}"


def test_submit_and_show(client: Client) -> None:
    url = _url()
    made = client.submit(DownloadRequest(url, directory="films", priority=Priority.LOW))
    assert (made.url, made.directory, made.priority) == (url, "films", Priority.LOW)
    assert made.status is Status.QUEUED
    assert client.show(made.id).created_at == made.created_at
    assert [one.to_status for one in client.history(made.id)] == [Status.QUEUED]
    again = client.submit(DownloadRequest(url, directory="films", priority=Priority.LOW))
    assert again.id == made.id


def test_a_key_of_ones_own(client: Client) -> None:
    key, url = new_job_id(), _url()
    made = client.submit(url, idempotency_key=key)
    client.cancel(made.id)
    assert client.submit(url, idempotency_key=key).id == made.id
    with pytest.raises(InvalidRequestError) as caught:
        client.submit(_url(), idempotency_key=key)
    assert caught.value.code == "idempotency_key_reused"
    for wrong in ("", "ä", "x" * 201, "a\r\nb: c"):
        with pytest.raises(ValueError, match="idempotency key"):
            client.submit(url, idempotency_key=wrong)


def test_all_or_none(client: Client, api: HttpApi) -> None:
    written = api.written()
    with pytest.raises(InvalidRequestError) as caught:
        client.submit_many([_url(), "gopher://x", DownloadRequest(_url(), max_attempts=0)])
    assert [one.pointer for one in caught.value.errors] == [
        "/downloads/1/url",
        "/downloads/2/max_attempts",
    ]
    assert api.written() == written
    found = client.submit_many([_url(), _url()])
    assert (found.accepted, found.refused) == (2, 0)
    assert all(one.is_new for one in found.results)


def test_each_for_itself(client: Client) -> None:
    good, bad = client.submit_many([_url(), "gopher://x"], mode="each").results
    assert (good.download is not None, good.problem) == (True, None)
    assert bad.download is None
    assert bad.problem is not None
    assert (bad.problem.code, bad.problem.status) == ("invalid_input", 422)


def test_list_yields_all_pages(client: Client) -> None:
    mark = new_job_id()
    ids = [client.submit(f"https://example.org/{mark}/{n}").id for n in range(7)]
    client.cancel(ids[0])
    assert [one.id for one in client.list(search=mark, page_size=2)] == ids[::-1]
    assert [one.id for one in client.list(search=mark, sort="oldest")] == ids
    assert [one.id for one in client.list(search=mark, state=Status.CANCELLED)] == ids[:1]
    assert len(list(client.list(search=mark, state=["cancelled", "queued"]))) == 7
    with pytest.raises(InvalidRequestError):
        next(iter(client.list(page_size=501)))


def test_actions(client: Client) -> None:
    job = client.submit(_url()).id
    assert client.pause(job).status is Status.PAUSED
    assert client.pause(job).status is Status.PAUSED
    assert client.set_priority(job, "high").priority is Priority.HIGH
    assert client.resume(job).status is Status.QUEUED
    with pytest.raises(ConflictError) as caught:
        client.delete(job)
    assert caught.value.status == 409
    assert client.cancel(job).status is Status.CANCELLED
    assert client.retry(job).status is Status.QUEUED
    client.cancel(job)
    assert client.delete(job) is None
    with pytest.raises(NotFoundError):
        client.show(job)


def test_actions_on_many(client: Client) -> None:
    ids = [client.submit(_url()).id for _ in range(3)]
    done = client.cancel(ids[0])
    result = client.change_many("pause", ids=ids)
    assert (result.changed, [one.id for one in result.refused]) == (2, [done.id])
    assert client.change_many("move", ids=ids[1:], priority="low").changed == 2
    host = Selection(host="example.org", state="paused")
    assert client.change_many("resume", where=host).changed == 2
    assert client.change_many("delete", ids=ids[:1]).changed == 1
    with pytest.raises(NotFoundError):
        client.change_many("cancel", ids=[ids[1], ID])
    assert client.show(ids[1]).status is Status.QUEUED


def test_limits_and_totals(client: Client, api: HttpApi, kind: str) -> None:
    job = client.submit(_url()).id
    changed = client.change_limits(jobs={job: 5000})
    assert {one.job_id: one.limit for one in changed.jobs}[job] == 5000
    assert job not in {one.job_id for one in client.change_limits(jobs={job: None}).jobs}
    with pytest.raises(ForbiddenError):
        client.change_limits(total=None)
    with client_of(kind, api.url, api.keys["root"]) as root:
        limits = root.change_limits(total=9000, hosts={"example.org": 8000})
        assert (limits.total.limit, limits.hosts[0].limit) == (9000, 8000)
        assert root.change_limits(total=None, hosts={"example.org": None}).hosts == ()
    assert client.totals().jobs["queued"] >= 1


def test_wait(client: Client, api: HttpApi) -> None:
    """Until the end, however long that takes, or until the time is over."""
    job = client.submit(_url()).id
    with pytest.raises(WaitTimeoutError) as caught:
        client.wait(job, timeout=0.5)
    assert (caught.value.download.id, isinstance(caught.value, TimeoutError)) == (job, True)

    def cancel_when_watched() -> None:
        wait_until(lambda: api.hub.watchers, deadline=30, what="the stream is open")
        api.client("ada").post(f"/v1/downloads/{job}/cancel")

    thread = threading.Thread(target=cancel_when_watched)
    thread.start()
    assert client.wait(job).status is Status.CANCELLED
    thread.join()
    assert client.wait(job, timeout=0).has_ended
    client.delete(job)
    with pytest.raises(NotFoundError):
        client.wait(job)


def test_an_answer_that_waits(client: Client) -> None:
    assert client.submit(_url(), wait=0.5).status is Status.QUEUED


def test_sessions(api: HttpApi, kind: str) -> None:
    with client_of(kind, api.url) as client:
        with pytest.raises(AuthenticationError):
            client.who_am_i()
        signed_in = client.sign_in(key=api.keys["ada"])
        assert (signed_in.user_id, signed_in.kind) == ("ada", "session")
        assert signed_in.expires_at is not None
        assert str(signed_in.token) not in repr(signed_in)
        renewed = client.refresh()
        assert renewed.token != signed_in.token
        assert client.who_am_i().kind == "session"
        client.sign_out()
        with pytest.raises(AuthenticationError) as caught:
            client.totals()
        client.sign_in(key=api.keys["ada"])
        client.sign_out_everywhere()
    again = pickle.loads(pickle.dumps(caught.value))
    assert (type(again), str(again)) == (AuthenticationError, str(caught.value))


def test_webhooks(client: Client, kind: str) -> None:
    assert client.set_webhook(f"https://example.org/{kind}") == "https://example.org/…"
    first = client.webhook_secret()
    assert client.renew_webhook_secret() != first
    job = client.submit(_url()).id
    client.cancel(job)
    (delivery,) = client.deliveries(download_id=job)
    assert (delivery.job_id, delivery.event, delivery.attempts) == (job, "cancelled", ())
    assert client.delivery(delivery.id).host == "example.org"
    assert client.send_again(delivery.id).state == "pending"
    assert next(client.deliveries(page_size=1)).id == delivery.id
    client.clear_webhook()
    assert client.webhook() is None


def test_ids_that_are_paths_are_refused(client: Client, tmp_path: Path) -> None:
    """They would name another resource: nothing is sent."""
    for wrong in ("", "..", ".", "a/b", "a?b", "a%2fb", "a b", "ä", "x" * 101, "a\n"):
        with pytest.raises(ValueError, match="no id"):
            client.show(wrong)
        with pytest.raises(ValueError, match="no id"):
            client.fetch(wrong, tmp_path / "x")
        with pytest.raises(ValueError, match="no id"):
            next(iter(client.events(wrong)))
