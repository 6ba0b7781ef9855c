"""`aria2.changeOption`: what each option changes of a download before it starts, and after that."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest

from api.rpc import gids
from api.rpc.options import OPTIONS
from domain.access import Principal
from domain.ids import new_job_id
from domain.job import Job, JobStatus
from tasks.api import control
from tests.support.aria2 import OPTIONS as ARIA2_OPTIONS
from tests.support.aria2 import Rpc, RpcError, rpc
from tests.support.services.http_api import HttpApi
from tests.support.services.operations import claim

S = JobStatus
LATE = "It can be changed until the download starts"
SHA = "0" * 64
#: With these each download is added that is changed.
ADDED = {
    "dir": "films",
    "out": "a.bin",
    "header": ["X-A: b", "Cookie: c=d"],
    "referer": "https://a.example/",
    "user-agent": "x/1",
    "split": "3",
}
HEADERS = {"X-A": "b", "Referer": "https://a.example/", "User-Agent": "x/1"}


class Change(NamedTuple):
    """What becomes of a value: fields that change, all headers where they do, or the error."""

    value: Any
    fields: dict[str, Any] = {}  # noqa: RUF012 - never changed
    headers: dict[str, str] = HEADERS
    error: str = ""


def _without(*names: str, **more: str) -> dict[str, str]:
    return {name: value for name, value in HEADERS.items() if name not in names} | more


CHANGES = {
    ("out", "a name"): Change("b.bin", {"name": "b.bin", "directory": "films"}),
    ("out", "in a folder"): Change("new/b.bin", {"name": "b.bin", "directory": "films/new"}),
    ("out", "the same"): Change("a.bin"),
    ("out", "above"): Change("../../b.bin", error="'--dir'. It must stay inside"),
    ("out", "absolute"): Change("/b/c.bin", {"name": "c.bin", "directory": "films//b"}),
    ("out", "empty"): Change("", {"name": None, "directory": "films"}),
    ("dir", "relative"): Change("music", {"directory": "music", "name": "a.bin"}),
    ("dir", "absolute"): Change("<downloads>/music", {"directory": "music"}),
    ("dir", "another"): Change("/etc", error="'--dir'. It is in the download folder"),
    ("dir", "above"): Change("<downloads>/../x", error="'--dir'. It is in the download folder"),
    ("header", "replaces"): Change(
        ["X-B: c", "Y: d"], {"cookies": None}, _without("X-A", **{"X-B": "c", "Y": "d"})
    ),
    ("header", "cookie"): Change("Cookie: e=f", {"cookies": "e=f"}, _without("X-A")),
    ("header", "of another option"): Change(
        "referer: r", {"cookies": None}, _without("X-A", "Referer", referer="r")
    ),
    ("header", "none"): Change("", {"cookies": None}, _without("X-A")),
    ("header", "without a colon"): Change("X-A", error="A header is written"),
    ("header", "of framing"): Change("Host: a", error="'--header'. This header cannot"),
    ("referer", "another"): Change("r", {"cookies": "c=d"}, _without("Referer", Referer="r")),
    ("referer", "none"): Change("", {}, _without("Referer")),
    ("referer", "itself"): Change("*", {}, _without("Referer", Referer="<url>")),
    ("user-agent", "another"): Change("y", {}, _without("User-Agent", **{"User-Agent": "y"})),
    ("http-no-cache", ""): Change(
        "true", {}, {**HEADERS, "Cache-Control": "no-cache", "Pragma": "no-cache"}
    ),
    ("http-no-cache", "not"): Change("false"),
    ("http-user", ""): Change("u", {"username": "u"}),
    ("http-passwd", "alone"): Change("p", error="password"),
    ("ftp-user", "for http"): Change("u"),
    ("ftp-passwd", "for http"): Change("p"),
    ("checksum", "sha-256"): Change(f"sha-256={SHA}", {"checksum": f"sha256:{SHA}"}),
    ("checksum", "unknown"): Change("sha-9=00", error="'--checksum'. It is TYPE=DIGEST"),
    ("checksum", "short"): Change("md5=00", error="'--checksum'. "),
    ("split", "more"): Change("9", {"connections": 9}),
    ("split", "none"): Change("0", error="'--split'. It is a whole number"),
    ("max-connection-per-server", ""): Change("2", {"connections": 2}),
    ("max-download-limit", ""): Change("20K", {"max_rate": None}),
    ("max-download-limit", "a word"): Change("fast", error="'--max-download-limit'. It is a"),
    ("max-tries", ""): Change("7", {"max_attempts": 7}),
    ("max-tries", "below zero"): Change("-1", error="'--max-tries'. It is a whole number"),
    ("pause", "is ignored, as by aria2"): Change("true"),
    ("pause", "a word, too"): Change("yes"),
    ("allow-overwrite", "for an admin"): Change("true", {"overwrite": True}),
    ("allow-overwrite", "a word"): Change("yes", error="'--allow-overwrite'. It is true or"),
}


def _add(client: Rpc, **more: Any) -> tuple[str, str]:
    """Add a download; return its GID and its URI."""
    uri = f"https://example.org/{new_job_id()}"
    return client.call("addUri", [uri], {**ADDED, **more}), uri


def _job(api: HttpApi, gid: str) -> Job:
    runtime = api.system.runtime
    return runtime.jobs.get(gids.find(gid, Principal.local(), runtime))


def _start(api: HttpApi, gid: str) -> Job:
    """Claim its job, as a worker does."""
    runtime = api.system.runtime
    claimed = claim(runtime.jobs, _job(api, gid).id, worker="w", now=runtime.now())
    assert claimed is not None
    return claimed


def test_every_option_has_a_verdict() -> None:
    assert {name for name, _ in CHANGES} == set(OPTIONS) <= ARIA2_OPTIONS


@pytest.mark.parametrize("name", OPTIONS)
def test_options_change_what_a_download_asks_for(api: HttpApi, name: str) -> None:
    client, cipher = rpc(api, "root"), api.system.runtime.credential_cipher
    for number, (what, case) in enumerate(
        (key[1], case) for key, case in CHANGES.items() if key[0] == name
    ):
        gid, uri = _add(client, pause=["true", "false"][number % 2])
        old, value = _job(api, gid), case.value
        if isinstance(value, str):
            value = value.replace("<downloads>", str(api.system.downloads))
        if case.error:
            with pytest.raises(RpcError) as raised:
                client.call("changeOption", gid, {"max-download-limit": "9K", name: value})
            assert case.error in str(raised.value), what
            assert _job(api, gid) == old
            assert client.call("getOption", gid)["max-download-limit"] == "0", what
            continue
        assert client.call("changeOption", gid, {name: value}) == "OK", what
        job = _job(api, gid)
        secrets = cipher.decrypt(job)
        for field, expected in case.fields.items():
            assert getattr(secrets if hasattr(secrets, field) else job, field) == expected, what
        headers = {one: text.replace("<url>", uri) for one, text in case.headers.items()}
        assert dict(secrets.headers) == headers, what
        assert (job.id, job.url, job.user_id, job.status) == (
            *(old.id, old.url, old.user_id),
            old.status,
        )
        events = [one.reason for one in api.system.runtime.jobs.events(job.id)]
        assert (f"changed: {name}" in events) is (job != old), what


@pytest.mark.parametrize("name", OPTIONS)
def test_only_the_limit_changes_once_a_worker_has_claimed_it(api: HttpApi, name: str) -> None:
    client = rpc(api, "root")
    gid, _ = _add(client)
    _start(api, gid)
    before = _job(api, gid)
    cases = [case for key, case in CHANGES.items() if key[0] == name and not case.error]
    shown = client.call("getOption", gid)
    for case in cases:
        if name in {"max-download-limit", "pause"} or shown.get(name) == case.value:
            assert client.call("changeOption", gid, {name: case.value}) == "OK"
        else:
            with pytest.raises(RpcError, match=f"'--{name}'. {LATE}"):
                client.call("changeOption", gid, {name: case.value})
    assert _job(api, gid) == before


def test_what_was_shown_may_be_sent_back(api: HttpApi) -> None:
    client = rpc(api, "ada")
    gid, _ = _add(client, checksum=f"sha-256={SHA}", **{"max-tries": "4"})
    _start(api, gid)
    shown = client.call("getOption", gid)
    assert client.call("changeOption", gid, {**shown, "max-download-limit": "30K"}) == "OK"
    assert client.call("getOption", gid) == {**shown, "max-download-limit": "30720"}
    client.call("remove", gid)


def test_a_changed_download_is_another_request(api: HttpApi) -> None:
    client = rpc(api, "ada")
    gid, uri = _add(client)
    client.call("changeOption", gid, {"out": "b.bin", "referer": "r"})
    again = {**ADDED, "out": "b.bin", "referer": "r"}
    assert client.call("addUri", [uri], again) == gid
    other = client.call("addUri", [uri], ADDED)
    assert other != gid
    before = _job(api, other)
    with pytest.raises(RpcError, match="is for the same request as job"):
        client.call("changeOption", other, {"out": "b.bin", "referer": "r"})
    assert _job(api, other) == before


def test_a_caller_changes_no_more_than_it_may_submit(api: HttpApi) -> None:
    client = rpc(api, "ada")
    gid, _ = _add(client)
    before = _job(api, gid)
    for refused, why in (
        ({"allow-overwrite": "true"}, "only an admin replaces"),
        ({"dir": "/etc"}, "in the download folder"),
    ):
        with pytest.raises(RpcError, match=why):
            client.call("changeOption", gid, refused)
    controls = Rpc(api.url, api.new_key("ada", ["read", "control"]))
    with pytest.raises(RpcError, match="needs the scope"):
        controls.call("changeOption", gid, {"out": "b.bin"})
    assert _job(api, gid) == before
    assert controls.call("changeOption", gid, {"max-download-limit": "9K"}) == "OK"
    # An admin changes it, and it stays Ada's.
    rpc(api, "root").call("changeOption", gid, {"out": "b.bin", "allow-overwrite": "true"})
    assert (_job(api, gid).user_id, _job(api, gid).overwrite) == ("ada", True)
    # Then she may not say which file it replaces.
    with pytest.raises(RpcError, match="only an admin replaces"):
        client.call("changeOption", gid, {"out": "c.bin"})


def test_an_idempotency_key_stands_for_what_was_asked_for(api: HttpApi) -> None:
    job = api.job_of("ada", new_job_id(), idempotency_key=new_job_id())
    client, gid = rpc(api, "root"), gids.gid_of(job.id)
    with pytest.raises(RpcError, match="Idempotency-Key"):
        client.call("changeOption", gid, {"out": "b.bin"})
    assert client.call("changeOption", gid, {"split": "7"}) == "OK"
    assert (_job(api, gid).name, _job(api, gid).connections) == (None, 7)


def test_a_download_that_was_queued_again_has_started(api: HttpApi) -> None:
    client = rpc(api, "ada")
    gid, _ = _add(client)
    runtime = api.system.runtime
    runtime.jobs.transition(_start(api, gid), S.PAUSED, now=runtime.now())
    control.resume(_job(api, gid).id, runtime=runtime)
    with pytest.raises(RpcError, match=LATE):
        client.call("changeOption", gid, {"out": "b.bin"})


def test_the_page_says_when_each_option_may_be_changed() -> None:
    page = Path(__file__).resolve().parents[3] / "docs" / "aria2.md"
    text = page.read_text()
    for name in OPTIONS:
        when = {"max-download-limit": "at any time", "pause": "never; ignored, as by aria2"}
        assert f"| `{name}` | {when.get(name, 'until it starts')} |" in text
