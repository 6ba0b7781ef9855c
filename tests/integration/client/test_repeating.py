"""Which calls are sent again after which failures: every method × every failure, on a real service."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import httpx
import pytest

from seen_client import (
    Client,
    NoAnswerError,
    ProblemError,
    SeenClientError,
    UnexpectedAnswerError,
    repeating,
)
from seen_client.operations import files, watching
from tests.integration.client.calls import Call, calls
from tests.integration.client.conftest import Serve
from tests.support.clients.both import client_of
from tests.support.clients.samples import ANYTHING, download_json
from tests.support.clients.scripted_service import (
    Hang,
    Reaction,
    Received,
    Reply,
    Reset,
    ScriptedService,
    json_reply,
    problem_reply,
)

GOOD = json_reply(ANYTHING)

#: Failures after which a call is sent again if it may be.
PASSING: dict[str, Reaction] = {
    "closed before an answer": b"",
    "reset before an answer": Reset(),
    "ends in the head": GOOD[:30],
    "ends in the body": GOOD[:-5],
    "reset in the body": Reset(GOOD[:-5]),
    "no HTTP": b"SSH-2.0-OpenSSH_9.6\r\n",
    "429": problem_reply(429, Retry_After="0"),
    "429 without Retry-After": problem_reply(429),
    "429 of a proxy": bytes(Reply(b"<html>", 429, "text/html")),
    "502 of a proxy": bytes(Reply(b"<html>", 502, "text/html")),
    "503": problem_reply(503, Retry_After="0"),
    "503 until a time": problem_reply(503, Retry_After=formatdate(0, usegmt=True)),
    "503 with a strange Retry-After": problem_reply(503, Retry_After="soon"),
    "504": problem_reply(504),
}
#: Failures that would come again.
LASTING: dict[str, Reaction] = {
    **{str(status): problem_reply(status) for status in (400, 401, 403, 404, 408, 409, 410, 413)},
    **{str(status): problem_reply(status) for status in (415, 416, 421, 422, 500, 501)},
    **{
        f"{status} to another origin": bytes(
            Reply(status=status, headers={"Location": "http://127.0.0.1:9/"})
        )
        for status in (301, 302, 303, 307, 308)
    },
    "304": bytes(Reply(status=304)),
    "HTML": bytes(Reply(b"<html>", content_type="text/html")),
    "no content type": bytes(Reply(b"{}", content_type="")),
    "no JSON": bytes(Reply(b"{")),
    "another JSON": json_reply([]),
}
#: What these answer is no JSON object.
STREAMS = {"events", "events:of one", "read_file"}
#: Answers without a body.
WITHOUT_RESULT = {"delete", "sign_out", "sign_out_everywhere", "clear_webhook"}


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeating, "_FIRST_PAUSE", 0.002)


def _good(received: Received) -> Reaction:
    """The answer that any operation accepts."""
    path = received.target.partition("?")[0]
    if path.endswith("/events"):
        event = b'event: snapshot\ndata: {"downloads": []}\n\n'
        return bytes(Reply(event, 200, "text/event-stream"))
    if path.endswith("/file"):
        headers = {"ETag": '"a"', "Content-Range": "bytes 1-4/9"}
        return bytes(Reply(b"1234", 206, "application/octet-stream", headers))
    content: dict[str, Any] = {**ANYTHING, "events": [], "deliveries": [], "next_before": None}
    if path.endswith("/limits"):
        content["jobs"] = []
    elif path.endswith("/totals"):
        content |= {"jobs": {}, "at_least": [], "active": None, "bytes_per_second": None}
    elif "/deliveries/" in path:
        text = {"webhook_id": "a", "job_id": "a", "target": "a", "host": "", "event": "completed"}
        content |= text | {"id": 7, "ended_at": content["created_at"], "state": "pending"}
        content["attempts"] = []
    elif path.endswith("/downloads") and b'"downloads": [' in received.body:
        content |= {"results": [], "refused": 0}
    elif path.count("/") == 3 and "/downloads/" in path and received.method == "GET":
        content["status"] = "completed"
    return json_reply(content)


class Failing:
    """A service whose first answer to each call is a failure, and a client that calls it."""

    def __init__(self) -> None:
        self._http = httpx.Client()
        self.service = ScriptedService(_good)

    def close(self) -> None:
        self._http.close()
        self.service.close()

    def run(self, call: Call, failure: Reaction) -> tuple[int, BaseException | None]:
        """How many requests a call makes if the first one fails so, and how it ends."""
        requests = self.service.requests
        requests.clear()
        self.service.react = lambda received: failure if received.number == 1 else _good(received)
        try:
            with Client(self.service.url, "seen_x_y", retry_for=60, http=self._http) as client:
                call.run(client)
        except SeenClientError as error:
            return len(requests), error
        return len(requests), None


@pytest.fixture(scope="module")
def failing() -> Iterator[Failing]:
    found = Failing()
    yield found
    found.close()


@pytest.fixture
def table(tmp_path: Path) -> dict[str, Call]:
    """All calls, but `fetch`, which is a `show` and a `read_file`."""
    return {name: call for name, call in calls(tmp_path).items() if name != "fetch"}


@pytest.mark.parametrize("failure", PASSING)
def test_passing_failures(failure: str, table: dict[str, Call], failing: Failing) -> None:
    deviating = {}
    for name, call in table.items():
        if name in WITHOUT_RESULT | STREAMS and failure in {
            "ends in the body",
            "reset in the body",
        }:
            continue  # they have another body
        count, error = failing.run(call, PASSING[failure])
        is_right = (count >= 2 and error is None) if call.is_repeated else (count == 1 and error)
        if not is_right:
            deviating[name] = (count, error)
    assert deviating == {}


@pytest.mark.parametrize("failure", LASTING)
def test_lasting_failures(failure: str, table: dict[str, Call], failing: Failing) -> None:
    """On one call of each kind: none is sent again, whatever the call."""
    deviating = {}
    is_answer = failure in {"HTML", "no content type", "no JSON", "another JSON"}
    for name in ("show", "submit", "pause", "retry", "delete", "read_file", "events"):
        call = table[name]
        if is_answer and name in WITHOUT_RESULT:
            continue  # there is nothing that it would look at
        count, error = failing.run(call, LASTING[failure])
        kind = ProblemError if failure.isdigit() and failure != "304" else UnexpectedAnswerError
        if count != 1 or not isinstance(error, kind):
            deviating[name] = (count, error)
    assert deviating == {}


@pytest.mark.parametrize("name", ["show", "pause", "retry", "delete"])
def test_no_answer_in_time(name: str, table: dict[str, Call], serve: Serve, kind: str) -> None:
    call = table[name]
    service = serve(lambda received: Hang() if received.number == 1 else _good(received))
    with client_of(kind, service.url, timeout=0.4, retry_for=60) as client:
        if call.is_repeated:
            call.run(client)
            assert len(service.requests) >= 2
        else:
            with pytest.raises(NoAnswerError, match="does not answer"):
                call.run(client)
            assert len(service.requests) == 1


def test_every_call_is_sent_once_the_service_listens(
    table: dict[str, Call], failing: Failing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refused connection: nothing was sent, so all are repeated."""
    failing.service.react = _good
    for name, call in table.items():
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{closed.getsockname()[1]}"
            client = Client(url, "seen_x_y", http=failing._http)
            pauses: list[int] = []

            def pause(
                number: int,
                _error: object = None,
                client: Client = client,
                pauses: list[int] = pauses,
            ) -> float:
                client._service.url = failing.service.url
                pauses.append(number)
                return 0.0

            for module in (repeating, files, watching):
                monkeypatch.setattr(module, "pause_after", pause)
            with client:
                call.run(client)
        assert pauses == [0] or name in STREAMS, name


def test_a_call_that_goes_on_failing_ends(
    serve: Serve, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the last error, when the next pause is longer than what is left of `retry_for`."""
    pauses = iter([0.0, 0.0, 0.0, 61.0])
    with monkeypatch.context() as patched:
        patched.setattr(repeating, "pause_after", lambda *_: next(pauses))
        service = serve(lambda _: problem_reply(503, "store_unavailable"))
        with client_of(kind, service.url, retry_for=60) as client:
            with pytest.raises(ProblemError) as caught:
                client.totals()
            assert (caught.value.code, caught.value.retry_after) == ("store_unavailable", None)
        assert len(service.requests) == 4
    patient = serve(lambda _: problem_reply(429, Retry_After="3600"))
    with client_of(kind, patient.url, retry_for=60) as client:
        with pytest.raises(ProblemError) as caught:
            client.totals()
        assert caught.value.retry_after == 3600
    assert len(patient.requests) == 1


def test_the_service_decides_how_long_the_pause_is(serve: Serve, kind: str) -> None:
    answers: Callable[[Received], Reaction] = lambda received: (  # noqa: E731
        problem_reply(429, Retry_After="1") if received.number == 1 else _good(received)
    )
    service = serve(answers)
    started = time.monotonic()
    with client_of(kind, service.url) as client:
        client.totals()
    assert time.monotonic() - started >= 1


def test_a_repeated_submission_has_the_same_key_and_body(serve: Serve, kind: str) -> None:
    service = serve(
        lambda received: Reset() if received.number < 4 else json_reply(download_json(), 201)
    )
    with client_of(kind, service.url) as client:
        client.submit("https://example.org/a", wait=1)
        client.submit("https://example.org/a")
    sent: list[Any] = [
        (one.headers["idempotency-key"], one.headers.get("prefer"), one.body)
        for one in service.requests
    ]
    assert len(set(sent[:4])) == 1
    assert sent[4][0] != sent[0][0], "another call has another key"


def test_the_readme_has_this_table() -> None:
    text = (Path(__file__).parents[3] / "client" / "README.md").read_text(encoding="utf-8")
    _, _, section = text.partition("## Repeated calls\n")
    for name in ("429", "502", "503", "504", "Idempotency-Key", "retry_for"):
        assert name in section
