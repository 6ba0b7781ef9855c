"""Credentials of a job reach its origin and appear nowhere else."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from domain.cookies import Cookie
from domain.errors import InvalidInputError
from domain.job import JobStatus
from tests.support.origins.origin import Origin
from tests.support.servers.preloaded import run_module
from tests.support.services.running import run_download
from tests.support.services.system import ROOT, System
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until
from worker.outcome import Outcome

KEY = "a key that no log may show either"
SECRET = "hunter2-ünd-so-weiter"
LOGIN = {"username": "me", "password": SECRET}
BASIC = base64.b64encode(f"me:{SECRET}".encode()).decode()
HEADER, COOKIE = "header-7c1d94", "cookie-2fa05b"


@pytest.fixture
def keyed(tmp_path: Path, store: StoreServer) -> Iterator[System]:
    """A system that has a key."""
    settings = {"SEEN_SECRET_KEY": KEY, "SEEN_LOG_LEVEL": "DEBUG"}
    with System(tmp_path, store, settings=settings) as system:
        yield system


def all_in_store(store: StoreServer) -> bytes:
    """Everything that the store holds, keys and values of all databases, as it would save it."""
    found = []
    for number in range(3):
        with store.client(db=number) as client:
            for key in client.scan_iter(count=1000):
                found += [key, *_values(client, key)]
    return b"\n".join(found)


def _values(client: object, key: bytes) -> list[bytes]:
    commands = {
        b"string": ("GET", key),
        b"hash": ("HGETALL", key),
        b"list": ("LRANGE", key, 0, -1),
        b"set": ("SMEMBERS", key),
        b"zset": ("ZRANGE", key, 0, -1),
    }
    kind = client.type(key)  # type: ignore[attr-defined]
    if kind == b"none":  # Went since it was listed: the system runs on.
        return []
    return [repr(client.execute_command(*commands[kind])).encode()]  # type: ignore[attr-defined]


def all_on_disk(folder: Path) -> bytes:
    """Database, logs, part files and what lies beside them."""
    return b"\n".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def shown(system: System, *arguments: str) -> str:
    done = run_module("cli", arguments, environment=system.environment, folder=ROOT, timeout=60)
    done.check_returncode()
    return done.stdout + done.stderr


def forms(secret: str) -> set[bytes]:
    """A secret as it may have been written down."""
    texts = {secret, json.dumps(secret).strip('"'), quote(secret), ascii(secret).strip("'")}
    return {text.encode() for text in texts} | {repr(secret.encode()).strip("b'").encode()}


def test_given_secrets_appear_nowhere(keyed: System, origin: Origin) -> None:
    gate = threading.Event()
    file = origin.serve("/a.bin", size=400_000, statuses=[503], gate=gate, gate_after=1000)
    keyed.start_all()
    headed = {"headers": {"X-Api-Key": HEADER}, "cookies": f"session={COOKIE}"}
    job = keyed.submit(file.url, user_id="ada", **LOGIN, **headed)
    # While it runs, after an attempt that failed.
    wait_until(lambda: [one for one in origin.requests_for("/a.bin") if one.status == 200])
    wait_until(lambda: keyed.runtime.cache.download.get_progress(job.id))

    row = keyed.job(job)
    events = keyed.runtime.jobs.events(job.id)
    running = shown(keyed, "show", job.id) + shown(keyed, "show", job.id, "--json")
    found = all_in_store(keyed.store) + all_on_disk(keyed.folder)
    found += f"{running} {row!r} {job!r} {events!r} {keyed.runtime!r}".encode()
    gate.set()
    keyed.wait_for(job, JobStatus.COMPLETED)
    found += all_in_store(keyed.store) + all_on_disk(keyed.folder)

    last = origin.requests_for("/a.bin")[-1].headers
    assert (last["x-api-key"], last["cookie"]) == (HEADER, f"session={COOKIE}")
    assert last["authorization"] == f"Basic {BASIC}"
    assert job.id.encode() in found
    assert "X-Api-Key" in running
    for secret in (SECRET, BASIC, HEADER, COOKIE, KEY):
        for form in forms(secret):
            assert form not in found, form
    assert keyed.job(job).secrets is None


def test_secret_url_appears_nowhere_but_in_its_row(
    keyed: System, origin: Origin, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither do those of its mirrors and redirects; its row has none of it when the file is there."""
    file = origin.serve("/hunter2/a.bin", size=1000)
    query = f"{file.url}?n=hunter2"
    origin.serve("/hunter3.bin", size=1, statuses=[302], redirect="ftp://hunter4/hunter5")
    redirected = keyed.submit(origin.url("/hunter3.bin"), secret_url=True, name="b")
    job = keyed.submit(query, mirrors=[f"{query}2"], secret_url=True, name="a.bin")
    assert keyed.job(job).url == query
    again = keyed.submit(query, name="a.bin")
    assert again.id == job.id, "what is shown makes no difference to what is fetched"

    assert run_download(keyed.runtime, redirected.id) is Outcome.FAILED
    output = shown(keyed, "show", job.id, "--show-urls")
    output += shown(keyed, "list", "--json") + shown(keyed, "list", "--show-urls")
    output += str(all_in_store(keyed.store)) + repr(job) + repr(keyed.job(job))
    with caplog.at_level("DEBUG"):
        assert run_download(keyed.runtime, job.id) is Outcome.COMPLETED
    output += caplog.text + str(all_on_disk(keyed.runtime.files_dir))
    row = keyed.job(job)
    assert (row.url, row.mirrors) == (f"http://127.0.0.1:{origin.port}/…", ())
    output += shown(keyed, "show", job.id) + shown(keyed, "show", redirected.id, "--json")
    assert "unsafe_redirect" in output
    assert "hunter" not in output


def test_without_a_key_nothing_is_accepted(system: System, origin: Origin) -> None:
    with pytest.raises(InvalidInputError, match="SEEN_SECRET_KEY") as caught:
        system.submit(origin.url("/a.bin"), cookies="a=b")
    assert caught.value.field == "cookies"
    assert system.runtime.jobs.find() == []


def test_each_host_of_a_redirect_gets_its_own_cookies(keyed: System, origin: Origin) -> None:
    with Origin() as elsewhere:
        file = elsewhere.serve("/a.bin", size=1000)
        target = file.url.replace("127.0.0.1", "localhost")
        origin.serve("/start", body=b"", redirect=target)
        jar = (
            Cookie(pair="here=2", domain="127.0.0.1"),
            Cookie(pair="there=3", domain="localhost"),
            Cookie(pair="nowhere=4", domain="example.org", with_subdomains=True),
            Cookie(pair="old=5", domain="localhost", expires=1.0),
            Cookie(pair="safe=6", domain="localhost", secure=True),
        )
        job = keyed.submit(origin.url("/start"), cookies="given=1", cookie_jar=jar)
        assert run_download(keyed.runtime, job.id) is Outcome.COMPLETED
        assert {one.headers.get("cookie") for one in origin.requests} == {"given=1"}
        assert {one.headers.get("cookie") for one in elsewhere.requests} == {"there=3"}


def test_a_job_whose_secrets_cannot_be_read_fails_at_once(
    keyed: System, origin: Origin, tmp_path: Path
) -> None:
    file = origin.serve("/a.bin", size=1000)
    job = keyed.submit(file.url, **LOGIN)
    other = {"SEEN_SECRET_KEY": "another one of sixteen"}
    (tmp_path / "other").mkdir()
    with System(
        tmp_path / "other",
        keyed.store,
        database_url=keyed.variables["SEEN_DATABASE_URL"],
        settings=other,
    ) as stranger:
        assert run_download(stranger.runtime, job.id) is Outcome.FAILED
    row = keyed.job(job)
    assert (row.status, row.error_code) == (JobStatus.FAILED, "unreadable_secrets")
    assert origin.requests_for("/a.bin") == []


def test_what_a_job_carries_is_what_its_transfer_heeds(keyed: System, origin: Origin) -> None:
    large = origin.serve("/large.bin", size=1001)
    gone = origin.url("/gone.bin")
    too_large = keyed.submit(large.url, max_bytes=1000)
    mirrored = keyed.submit(gone, mirrors=[large.url], max_bytes=1001, **LOGIN)

    assert run_download(keyed.runtime, too_large.id) is Outcome.FAILED
    assert keyed.job(too_large).error_code == "too_large"
    assert run_download(keyed.runtime, mirrored.id) is Outcome.COMPLETED
    assert keyed.job(mirrored).host == "127.0.0.1"
