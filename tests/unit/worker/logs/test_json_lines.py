"""A record as JSON: one line, bounded, valid, whatever text is in it. No format shows a secret."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import re
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from domain.errors import DiskFullError
from tests.support.wait import wait_until
from worker.logs import context, json_format, records
from worker.logs.context import JobContext
from worker.logs.json_format import JsonFormatter
from worker.logs.streams import LinesAsRecords
from worker.loop.calls import CallThreads
from worker.loop.folder_threads import FolderThreads
from worker.loop.threads import Threads

#: Characters of a line at most: a message, its values, and a traceback, each character as an escape.
LONGEST = 12 * (records.MAX_MESSAGE + 4 * json_format.MAX_VALUE + json_format.MAX_EXCEPTION)
JOB = "01a22e49-5566-7032-8b09-6ff848e60dd5"
OTHER_JOB = "01a22e49-7143-7830-8900-aa8cbcfa14a1"


class Log:
    """What one logger writes in one format."""

    def __init__(self, formatter: logging.Formatter) -> None:
        self._stream = io.StringIO()
        self._handler = logging.StreamHandler(self._stream)
        self._handler.setFormatter(formatter)
        self.logger = logging.getLogger("worker.tested")
        self.logger.setLevel(logging.DEBUG)
        self.logger.addHandler(self._handler)

    def close(self) -> None:
        self.logger.removeHandler(self._handler)

    @property
    def text(self) -> str:
        return self._stream.getvalue()

    def lines(self) -> list[dict[str, Any]]:
        *lines, end = self.text.split("\n")
        assert end == ""
        return [json.loads(line) for line in lines]

    def line(self) -> dict[str, Any]:
        """Return the only line, which is valid, bounded and ASCII."""
        (line,) = self.lines()
        assert self.text.isascii()
        assert self.text[:-1].isprintable()
        assert len(self.text) <= LONGEST
        return line


FORMATS: dict[str, Callable[[], logging.Formatter]] = {
    "lines": lambda: logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"),
    "json": lambda: JsonFormatter("downloads"),
}


@pytest.fixture(autouse=True)
def as_in_a_program(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = logging.getLogRecordFactory()
    records.install()
    monkeypatch.setattr(context, "_is_shown", True)
    yield
    logging.setLogRecordFactory(before)
    context.enter(None)


@pytest.fixture
def log() -> Iterator[Log]:
    found = Log(JsonFormatter("downloads"))
    yield found
    found.close()


# ── fields ──────────────────────────────────────────────────────────────────────────────────────


def test_line_has_the_fields_of_its_event(log: Log) -> None:
    error = DiskFullError("The disk is full.")
    log.logger.warning("Job %s was not started: %s", JOB, error)
    line = log.line()
    assert (line["event"], line["level"], line["logger"]) == (
        "download.not_started",
        "warning",
        "worker.tested",
    )
    assert line["message"] == f"Job {JOB} was not started: The disk is full."
    assert (line["job_id"], line["error"]) == (JOB, "The disk is full.")
    assert line["error_code"] == "disk_full"
    assert (line["role"], line["thread"]) == ("downloads", "MainThread")
    assert line["worker"] == f"{line['host']}:{line['pid']}"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["timestamp"])
    age = datetime.now(UTC) - datetime.fromisoformat(line["timestamp"])
    assert 0 <= age.total_seconds() < 60


def test_exception_is_one_field_with_its_lines(log: Log) -> None:
    error = DiskFullError("x\n\x1b[2Jy")
    log.logger.error("Job %s met an unexpected error", JOB, exc_info=error)
    line = log.line()
    assert line["event"] == "download.internal_error"
    assert (line["error_code"], line["exception_type"]) == ("disk_full", "DiskFullError")
    trace = line["exception"].split("\n")
    assert all(one.isprintable() for one in trace)
    assert r"\x1b[2Jy" in trace[-1]


@pytest.mark.parametrize(
    ("template", "arguments", "event"),
    [
        ("Job %s is %s%s", (JOB, "completed", ""), "download.completed"),
        ("nothing that is listed", (), "log"),
        ("%d for %s", ("text",), "log"),  # arguments that do not fit
        ({"no": "text"}, (), "log"),
    ],
)
def test_each_line_has_an_event(
    log: Log, template: Any, arguments: tuple[object, ...], event: str
) -> None:
    log.logger.info(template, *arguments)
    assert log.line()["event"] == event


def test_line_of_a_library_is_marked() -> None:
    record = logging.LogRecord("kombu.connection", logging.INFO, "", 1, "lost %s", ("x",), None)
    line = json.loads(JsonFormatter("beat").format(record))
    assert (line["event"], line["logger"], line["message"]) == (
        "library",
        "kombu.connection",
        "lost x",
    )


def test_what_is_printed_is_logged_line_by_line(log: Log) -> None:
    stream = LinesAsRecords("worker.tested", logging.INFO)
    print("one\ntwo", end="", file=stream)
    print(" and more", file=stream)
    print("\n \n", file=stream)
    assert [(line["event"], line["message"]) for line in log.lines()] == [
        ("output", "one"),
        ("output", "two and more"),
    ]


# ── text from outside ───────────────────────────────────────────────────────────────────────────

HOSTILE = {
    "newlines": "a\nb\r\nc\u2028d\x85",
    "a forged record": '"}\n{"event": "download.completed"}',
    "escape sequences": "\x1b[31m\x9b2J",
    "NUL and other control characters": "\x00\x07\x08\x7f",
    "lone surrogates": "\ud800 \udcff",
    "directions": "\u202e\u2066",
    "quotes and backslashes": '\\"\\u0041',
    "a megabyte": "x" * 2**20,
    "a megabyte of escapes": "\x1b" * 2**20,
    "a megabyte of one URL": "http://a/" + "b" * 2**20,
    "a megabyte of a name of a secret": "token" * 2**18,
    "a megabyte of lines": "line\n" * 2**18,
    "a percent sign": "100 %s %d",
}


class NoText:
    """Has no text."""

    def __str__(self) -> str:
        raise ValueError("no text")

    __repr__ = __str__


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_is_one_bounded_line(log: Log, name: str) -> None:
    text = HOSTILE[name]
    log.logger.error("Job %s was not started: %s", text, text, exc_info=ValueError(text))
    line = log.line()
    assert line["event"] == "download.not_started"
    assert line["level"] == "error"


@pytest.mark.parametrize("name", [one for one in HOSTILE if "megabyte" not in one])
def test_hostile_fields_are_one_bounded_line(log: Log, name: str) -> None:
    log.logger.error("short", extra=dict.fromkeys(json_format.EXTRA, HOSTILE[name]))
    line = log.line()
    assert all(str(line[field]).isprintable() for field in json_format.EXTRA)


VALUES: dict[str, tuple[object, object]] = {
    "no number": (float("nan"), "nan"),
    "infinity": (float("inf"), "inf"),
    "a fraction": (1 / 3, 0.333),
    "a large number": (2**64, hex(2**64)),
    "a number of 5,000 digits": (10**5000, hex(10**5000)[: json_format.MAX_VALUE]),
    "a boolean": (True, True),
    "bytes": (b"\xff\n", r"b'\xff\n'"),
    "a dictionary": ({"a": [1]}, "{'a': [1]}"),
    "an object without a text": (NoText(), "NoText without a text: ValueError"),
}


@pytest.mark.parametrize("name", VALUES)
def test_any_value_is_valid_in_json(log: Log, name: str) -> None:
    one, shown = VALUES[name]
    log.logger.info("%s", one, extra={"reason": one})
    assert log.line()["reason"] == shown


# ── secrets ─────────────────────────────────────────────────────────────────────────────────────

SECRET = "Hunter2hunter2hunter2hunter2hunter2hunter23x"
KEY = f"seen_ab12cd34_{SECRET[:43]}"
#: Texts with a secret in them, as messages of this service and of libraries have it.
SECRETS = {
    "a URL's login": f"http://user:{SECRET}@example.org/file",
    "a URL's query": f"GET https://example.org/file?name=a&token={SECRET}",
    "a signed URL": f"https://b.s3.amazonaws.com/a?X-Amz-Signature={SECRET}&X-Amz-Expires=60",
    "a store's URL": f"redis://:{SECRET}@10.0.0.1:6379/0",
    "a store's socket": f"Connected to redis+socket://user:{SECRET}@/run/store.sock",
    "a database's URL": f"postgresql+psycopg://seen:{SECRET}@db/seen",
    "a proxy's URL": f"CONNECT through socks5h://me:{SECRET}@proxy:1080 failed",
    "a webhook's URL": f"POST https://hooks.example.org/services?secret={SECRET}",
    "words of a connection": f"connection failed: host=db user=seen password={SECRET} dbname=seen",
    "quoted words of a connection": f"host=db password='{SECRET} with a space' dbname=seen",
    "a header": f"Authorization: Bearer {SECRET}",
    "a header of curl": f"> authorization: Basic {SECRET}==",
    "a header in a dictionary": f"{{'Authorization': 'Bearer {SECRET}', 'Accept': '*/*'}}",
    "headers of ASGI": f"[(b'host', b'x'), (b'authorization', b'Bearer {SECRET}')]",
    "a proxy's header": f"Proxy-Authorization: Negotiate {SECRET}",
    "a bearer token": f"refused: Bearer {SECRET}",
    "a cookie": f"Cookie: seen_session={SECRET}; other={SECRET}",
    "a cookie with quotes": f'Set-Cookie: a="{SECRET}"; HttpOnly',
    "an API key": f"The key {KEY} is unknown",
    "a session": f"no session seen_session_{SECRET[:43]}",
    "a sign-in link": f"made seen_link_{SECRET[:43]}.",
    "a webhook's secret": f"signed with whsec_{SECRET}=",
    "a JSON Web Token": f"got eyJhbGciOiJIUzI1NiJ9.{SECRET}.{SECRET}",
    "JSON": f'{{"password": "{SECRET}", "user": "a"}}',
    "a variable": f"SEEN_SECRET_KEY={SECRET}",
    "another variable": f"SEEN_FLOWER_PASSWORD={SECRET} seen flower",
    "an API key's header": f"X-Api-Key: {SECRET}",
    "a setting": f"api_key={SECRET}&a=1",
}
WAYS: dict[str, Callable[[logging.Logger, str], None]] = {
    "an argument": lambda logger, text: logger.warning("Job %s: %s", JOB, text),
    "the message itself": lambda logger, text: logger.warning(text.replace("%", "%%")),
    "an exception": lambda logger, text: logger.error("failed", exc_info=ValueError(text)),
    "a field": lambda logger, text: logger.warning("short", extra={"reason": text}),
    "a key of a message": lambda logger, text: logger.warning("User %s %s", {text: 1}, [text]),
    "at the limit": lambda logger, text: logger.warning("%s", f"{'x' * (4_000 - 30)} {text}"),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("log_format", FORMATS)
def test_secret_is_never_logged(log_format: str, name: str, way: str) -> None:
    log = Log(FORMATS[log_format]())
    try:
        WAYS[way](log.logger, SECRETS[name])
    finally:
        log.close()
    assert log.text.count("\n") >= 1
    assert SECRET[:12] not in log.text
    if log_format == "json":
        log.line()


@pytest.mark.parametrize(
    "text",
    [
        "Job 1 is failed: The origin answered 401 Unauthorized.",
        "SEEN_FLOWER_PASSWORD must be ASCII: Flower cannot compare other characters.",
        "The key seen:lock:download:1 of the broker holds a string",
        "Basic checks have passed; the token bucket is full",
        "sha256 as sent by the origin; ETag abc",
        "User anna has signed in: session 1234abcd",
        "Key ab12cd34 of user anna was made",
    ],
)
def test_text_without_secrets_is_logged_as_it_is(log: Log, text: str) -> None:
    log.logger.info("%s", text)
    assert log.line()["message"] == text


# ── the job that a record belongs to ────────────────────────────────────────────────────────────


def test_jobs_on_one_loop_and_in_threads_have_their_own_lines(log: Log) -> None:
    jobs = [JobContext(f"{JOB[:-2]}{number:02}", number, f"user{number}") for number in range(20)]
    calls, threads = CallThreads(4, "calls"), Threads(4)
    folders = FolderThreads(CallThreads(4, "disk"))

    def say() -> None:
        log.logger.info("works")

    async def one(job: JobContext) -> None:
        context.enter(job)
        say()
        await asyncio.sleep(0)
        await calls.call(say)
        await folders.call("/folder", say)
        await asyncio.wrap_future(threads.submit(say))
        say()

    async def run() -> None:
        await asyncio.gather(*map(one, jobs))

    asyncio.run(run())
    calls.shutdown()
    folders.shutdown()
    threads.shutdown()
    found = sorted((line["job_id"], line["fence"], line["user"]) for line in log.lines())
    assert found == sorted(tuple(job) for job in jobs for _ in range(5))


def test_callback_of_the_loop_belongs_to_no_job(log: Log) -> None:
    done = threading.Event()

    def called() -> None:
        log.logger.info("for all jobs")
        done.set()

    async def run() -> None:
        context.enter(JobContext(JOB, 1))
        asyncio.get_running_loop().call_soon(called)
        await asyncio.sleep(0.001)

    asyncio.run(run())
    wait_until(done.is_set, what="the callback has run")
    assert "job_id" not in log.line()


def test_message_about_another_job_has_no_fence_of_this_one(log: Log) -> None:
    context.enter(JobContext(JOB, 7))
    log.logger.warning("Job %s was not started: %s", OTHER_JOB, "x")
    log.logger.warning("Job %s was not started: %s", JOB, "x")
    first, second = log.lines()
    assert (first["job_id"], first.get("fence")) == (OTHER_JOB, None)
    assert (second["job_id"], second["fence"]) == (JOB, 7)
