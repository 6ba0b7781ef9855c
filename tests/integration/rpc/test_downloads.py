"""Downloads over aria2's JSON-RPC: their options, their GIDs, the lists, their places in the queue."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from api.rpc import gids
from api.rpc.gids import gid_of
from api.rpc.options import IGNORED, OPTIONS, REFUSED
from api.rpc.structs import error_code
from database.aria2 import QueuePlaces
from domain.access import Principal
from domain.ids import new_job_id
from domain.job import Job, JobFilter, JobStatus, Priority
from tests.support.aria2 import OPTIONS as ARIA2_OPTIONS
from tests.support.aria2 import Rpc, RpcError, rpc
from tests.support.services.http_api import HttpApi

S = JobStatus


def _add(client: Rpc, options: dict[str, Any] | None = None, *further: Any) -> str:
    url = f"https://example.org/{new_job_id()}"
    gid: str = client.call("addUri", [url], options or {}, *further)
    return gid


def _job(api: HttpApi, gid: str) -> Job:
    runtime = api.system.runtime
    return runtime.jobs.get(gids.find(gid, Principal.local(), runtime))


# ── options ─────────────────────────────────────────────────────────────────────────────────────


class Effect(NamedTuple):
    """What an option becomes of a request, or the reason why it is refused."""

    value: Any
    fields: dict[str, Any] = {}  # noqa: RUF012 - never changed
    headers: dict[str, str] = {}  # noqa: RUF012
    error: str = ""


SHA = "0" * 64
EFFECTS = {
    ("out", "a.bin"): Effect("a.bin", {"name": "a.bin"}),
    ("out", "in a folder"): Effect("b/c.bin", {"name": "c.bin", "directory": "b"}),
    ("out", "above"): Effect("../c.bin", error="'--dir'. It must stay inside"),
    ("out", "absolute"): Effect("/etc/c.bin", error="'--dir'. It is relative"),
    ("out", "empty"): Effect("", {"name": None, "directory": ""}),
    ("out", "a folder"): Effect("b/", error="'--out'. A file name"),
    ("dir", "relative"): Effect("films", {"directory": "films"}),
    ("dir", "absolute"): Effect("<downloads>/films/", {"directory": "films"}),
    ("dir", "itself"): Effect("<downloads>", {"directory": ""}),
    ("dir", "another"): Effect("/etc", error="'--dir'. It is in the download folder"),
    ("dir", "above"): Effect("<downloads>/../x", error="'--dir'. It is in the download folder"),
    ("dir", "beside"): Effect("<downloads>x", error="'--dir'. It is in the download folder"),
    ("header", "one"): Effect("X-A: b", headers={"X-A": "b"}),
    ("header", "two"): Effect(["X-A: b", "X-B:c"], headers={"X-A": "b", "X-B": "c"}),
    ("header", "twice"): Effect(["X-A: b", "x-a: c"], headers={"x-a": "c"}),
    ("header", "without a colon"): Effect("X-A", error="A header is written"),
    ("header", "empty"): Effect("", {"secrets": None}),
    ("header", "two lines"): Effect("X-A: b\r\nX-B: c", error="'--header'. "),
    ("header", "of framing"): Effect("Host: a", error="'--header'. This header cannot"),
    ("header", "cookie"): Effect(["Cookie: a=b", "Cookie: c=d"], {"cookies": "a=b; c=d"}),
    ("referer", "a page"): Effect("https://a.example/", headers={"Referer": "https://a.example/"}),
    ("referer", "itself"): Effect("*", headers={"Referer": "<url>"}),
    ("user-agent", ""): Effect("x/1", headers={"User-Agent": "x/1"}),
    ("http-no-cache", ""): Effect(
        "true", headers={"Cache-Control": "no-cache", "Pragma": "no-cache"}
    ),
    ("http-no-cache", "not"): Effect("false"),
    ("http-user", "alone"): Effect("u", {"username": "u"}),
    ("http-user", "empty"): Effect("", {"username": None}),
    ("http-passwd", "empty"): Effect("", {"password": None}),
    ("http-passwd", "alone"): Effect("p", error="password"),
    ("ftp-user", "for http"): Effect("u"),
    ("ftp-passwd", "for http"): Effect("p"),
    ("checksum", "sha-256"): Effect(f"sha-256={SHA}", {"checksum": f"sha256:{SHA}"}),
    ("checksum", "md5"): Effect("md5=" + "0" * 32, {"checksum": "md5:" + "0" * 32}),
    ("checksum", "unknown"): Effect("sha-9=00", error="'--checksum'. It is TYPE=DIGEST"),
    ("checksum", "short"): Effect("md5=00", error="'--checksum'. "),
    ("split", "5"): Effect("5", {"connections": 5}),
    ("split", "a number"): Effect(5, {"connections": 5}),
    ("split", "more than there are"): Effect("100", {"connections": 32}),
    ("split", "none"): Effect("0", error="'--split'. It is a whole number, 1 at least."),
    ("split", "a word"): Effect("many", error="'--split'. It is a whole number"),
    ("split", "a float"): Effect(5.5, error="'--split'. Its value is a text."),
    ("split", "null"): Effect(None, error="'--split'. Its value is a text."),
    ("max-connection-per-server", ""): Effect("3", {"connections": 3}),
    ("max-download-limit", "K"): Effect("20K", {"max_rate": 20_480}),
    ("max-download-limit", "m"): Effect("1m", {"max_rate": 2**20}),
    ("max-download-limit", "none"): Effect("0", {"max_rate": None}),
    ("max-download-limit", "too small"): Effect("5", error="'--max-download-limit'. A limit is"),
    ("max-download-limit", "a word"): Effect("fast", error="'--max-download-limit'. It is a"),
    ("max-download-limit", "below zero"): Effect("-1", error="'--max-download-limit'. It is a"),
    ("max-download-limit", "huge"): Effect("9" * 30, error="'--max-download-limit'. It is a"),
    ("max-tries", ""): Effect("3", {"max_attempts": 3}),
    ("max-tries", "without end"): Effect("0", {"max_attempts": 1_000}),
    ("pause", "not"): Effect("false", {"status": S.QUEUED}),
    ("pause", ""): Effect("true", {"status": S.PAUSED}),
    ("pause", "a truth value"): Effect(True, {"status": S.PAUSED}),
    ("pause", "a word"): Effect("yes", error="'--pause'. It is true or false."),
    ("allow-overwrite", ""): Effect("true", {"overwrite": True}),
    ("allow-overwrite", "not"): Effect("false", {"overwrite": False}),
}


def test_every_option_of_aria2_has_a_verdict() -> None:
    assert {*OPTIONS, *REFUSED, *IGNORED} == ARIA2_OPTIONS
    assert len(OPTIONS) + len(REFUSED) + len(IGNORED) == len(ARIA2_OPTIONS)
    assert {name for name, _ in EFFECTS} == set(OPTIONS)


@pytest.mark.parametrize("name", OPTIONS)
def test_options_become_a_request(api: HttpApi, name: str) -> None:
    client = rpc(api, "root")
    for what, effect in [(key[1], effect) for key, effect in EFFECTS.items() if key[0] == name]:
        value, url = effect.value, f"https://example.org/{new_job_id()}"
        if isinstance(value, str):
            value = value.replace("<downloads>", str(api.system.downloads))
        before = api.written()
        if effect.error:
            with pytest.raises(RpcError) as raised:
                client.call("addUri", [url], {name: value})
            assert effect.error in str(raised.value), what
            assert api.written() == before
            continue
        job = _job(api, client.call("addUri", [url], {name: value}))
        secrets = api.system.runtime.credential_cipher.decrypt(job)
        for field, expected in effect.fields.items():
            found = getattr(secrets if hasattr(secrets, field) else job, field)
            assert found == expected, what
        headers = {one: text.replace("<url>", url) for one, text in effect.headers.items()}
        assert dict(secrets.headers) == headers, what


@pytest.mark.parametrize("method", ["addUri", "changeOption"])
def test_what_would_be_ignored_to_someones_harm_is_refused(api: HttpApi, method: str) -> None:
    client = rpc(api, "root")
    first: Any = ["https://example.org/x"] if method == "addUri" else _add(client)
    before = api.written()
    for name in REFUSED:
        with pytest.raises(RpcError, match=f"processing the option '--{name}'. [A-Z]"):
            client.call(method, first, {name: "http://10.0.0.1:3128"})
    assert api.written() == before
    for value in ("", "false"):
        client.call(method, first, {one: value for one in REFUSED if value in REFUSED[one][0]})


def test_options_without_a_meaning_are_ignored(api: HttpApi) -> None:
    unknown = {"nope": "1", "ca-certificate": "/etc/passwd", "load-cookies": "/etc/passwd"}
    job = _job(api, _add(rpc(api, "ada"), {**dict.fromkeys(IGNORED, "1"), **unknown}))
    plain = _job(api, _add(rpc(api, "ada")))
    same = ("directory", "name", "max_rate", "connections", "secrets", "priority", "overwrite")
    assert [getattr(job, one) for one in same] == [getattr(plain, one) for one in same]


def test_the_smaller_number_of_connections_counts(api: HttpApi) -> None:
    options = {"split": "8", "max-connection-per-server": "2"}
    assert _job(api, _add(rpc(api, "ada"), options)).connections == 2


def test_what_a_user_may_not_ask_for(api: HttpApi) -> None:
    client, before = rpc(api, "ada"), api.written()
    for uri, options, why in (
        ("http://127.0.0.1/x", {}, "not a public host"),
        ("http://redis:6379/x", {}, "not a public host"),
        ("https://example.org/x", {"allow-overwrite": "true"}, "only an admin replaces"),
    ):
        with pytest.raises(RpcError, match=why):
            client.call("addUri", [uri], options)
    assert api.written() == before


def test_uris_of_one_file_are_mirrors(api: HttpApi) -> None:
    uris = ["https://example.org/m1", "https://example.com/m1", "nonsense"]
    gid = rpc(api, "ada").call("addUri", uris)
    found = rpc(api, "ada").call("getUris", gid)
    assert found == [{"status": "waiting", "uri": uri} for uri in uris[:2]]


URIS = {
    " https://example.org/<id>\n": "https://example.org/<id>",
    "https://example.org/<id> a": "https://example.org/<id>%20a",
    "https://example.org/<id>\tb\x7f": "https://example.org/<id>%09b%7F",
    "https://example.org/<id>%20c": "https://example.org/<id>%20c",
}


def test_white_space_of_a_uri_is_encoded_as_by_aria2(api: HttpApi) -> None:
    client = rpc(api, "ada")
    for number, (given, expected) in enumerate(URIS.items()):
        name = f"{new_job_id()}{number}"
        gid = client.call("addUri", [given.replace("<id>", name)])
        assert client.call("getUris", gid)[0]["uri"] == expected.replace("<id>", name)


def test_the_same_download_has_the_same_gid_until_it_ends(api: HttpApi) -> None:
    client, uri = rpc(api, "ada"), ["https://example.org/again"]
    first = client.call("addUri", uri)
    assert client.call("addUri", uri, {"pause": "true"}) == first
    assert client.call("tellStatus", first, ["status"]) == {"status": "waiting"}
    client.call("remove", first)
    assert client.call("addUri", uri) != first
    assert client.call("tellStatus", first, ["status"]) == {"status": "removed"}


def test_options_are_read_and_changed(api: HttpApi) -> None:
    client = rpc(api, "ada")
    checksum = f"sha-256={SHA}"
    options = {"out": "o.bin", "checksum": checksum, "header": "X-A: secret", "split": "3"}
    gid = _add(client, {**options, "max-download-limit": "20K"})
    found = client.call("getOption", gid)
    assert {name: found[name] for name in ("out", "checksum", "split")} == {
        "out": "o.bin",
        "checksum": checksum,
        "split": "3",
    }
    assert "secret" not in str(found)
    for given, shown in (("30K", "30720"), ("0", "0"), (4096, "4096")):
        assert client.call("changeOption", gid, {"max-download-limit": given, "nope": "1"}) == "OK"
        assert client.call("getOption", gid)["max-download-limit"] == shown
    client.call("remove", gid)
    with pytest.raises(RpcError, match=f"Cannot change option for GID#{gid}"):
        client.call("changeOption", gid, {"max-download-limit": "1K"})


def test_the_limit_of_all_downloads_is_read_and_changed(api: HttpApi) -> None:
    client = rpc(api, "root")
    for given, shown in (("1M", "1048576"), ("0", "0")):
        client.call("changeGlobalOption", {"max-overall-download-limit": given})
        assert rpc(api, "vic").call("getGlobalOption")["max-overall-download-limit"] == shown
    limits = api.client("root").get("/v1/limits").json()
    assert limits["total"]["limit"] is None
    for most in ("3", 1, "100000"):
        client.call("changeGlobalOption", {"max-concurrent-downloads": most})
        assert client.call("getGlobalOption")["max-concurrent-downloads"] == str(most)
    for wrong in ("0", "-1", "1.5", "many", "", "100001", "\u0663", " 4", "1" * 5000):
        with pytest.raises(RpcError, match=r"'--max-concurrent-downloads'\. It is a number from 1"):
            client.call("changeGlobalOption", {"max-concurrent-downloads": wrong})
    limits = api.client("root").get("/v1/limits").json()
    assert limits["concurrent_downloads"] == {"limit": 100_000, "is_default": False, "running": 0}
    api.client("root").patch("/v1/limits", json={"concurrent_downloads": None})
    for name, value in (("dir", "/etc"), ("split", "9")):
        with pytest.raises(RpcError, match=f"'--{name}'. It is set for the service"):
            client.call("changeGlobalOption", {name: value})
    same = client.call("getGlobalOption")
    assert client.call("changeGlobalOption", {**same, "log": "", "bt-max-peers": "5"}) == "OK"


# ── GIDs ────────────────────────────────────────────────────────────────────────────────────────


def test_a_gid_is_found_by_a_beginning_that_no_other_one_has(api: HttpApi) -> None:
    client = rpc(api, "eve")
    gid = _add(client)
    for length in (16, 12, 8):
        assert client.call("tellStatus", gid[:length].upper(), ["gid"]) == {"gid": gid}
    with pytest.raises(RpcError, match="is not found"):
        rpc(api, "ada").call("tellStatus", gid[:12])


def test_a_beginning_of_several_gids_is_not_unique(api: HttpApi) -> None:
    client = rpc(api, "eve")
    firsts = [_add(client)[0] for _ in range(5)]  # of four that there are
    twice = next(one for one in firsts if firsts.count(one) > 1)
    with pytest.raises(RpcError, match=f"GID {twice} is not unique"):
        client.call("tellStatus", twice)


def test_no_two_jobs_have_one_gid(api: HttpApi) -> None:
    job = api.job_of("ada", new_job_id())
    with api.system.runtime.database.read() as connection:
        plan = connection.exec_driver_sql(
            "EXPLAIN QUERY PLAN SELECT id FROM jobs WHERE length(id) = 36 "
            "AND (substr(id, 20, 4) || substr(id, 25)) = 'a'"
        ).all()
        indexes = connection.exec_driver_sql("PRAGMA index_list(jobs)").all()
    assert "uq_jobs_gid" in str(plan)
    assert [bool(row[2]) for row in indexes if row[1] == "uq_jobs_gid"] == [True]
    assert gid_of(job.id) == job.id.replace("-", "")[16:]


# ── lists and places ────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def of_eve(api: HttpApi) -> Rpc:
    """Eve, whose downloads have all been removed."""
    client = rpc(api, "eve")
    for one in client.call("tellWaiting", 0, 10_000, ["gid"]):
        client.call("remove", one["gid"])
    client.call("purgeDownloadResult")
    return client


def _gids(client: Rpc, method: str, *bounds: int) -> list[str]:
    return [one["gid"] for one in client.call(method, *bounds, ["gid"])]


def test_parts_of_the_waiting_list(of_eve: Rpc) -> None:
    a, b, c = (_add(of_eve) for _ in range(3))
    parts = {
        (0, 1): [a],
        (1, 2): [b, c],
        (0, 100): [a, b, c],
        (2, 2): [c],
        (3, 1): [],
        (0, 0): [],
        (-1, 2): [c, b],
        (-1, 100): [c, b, a],
        (-2, 1): [b],
        (-3, 5): [a],
        (-4, 5): [],
    }
    assert {bounds: _gids(of_eve, "tellWaiting", *bounds) for bounds in parts} == parts


def test_the_newest_stopped_downloads_come_last(of_eve: Rpc) -> None:
    a, b, c = (_add(of_eve) for _ in range(3))
    for gid in (b, c, a):
        of_eve.call("remove", gid)
    assert _gids(of_eve, "tellStopped", 0, 10) == [b, c, a]
    assert _gids(of_eve, "tellStopped", -1, 2) == [a, c]
    of_eve.call("removeDownloadResult", c)
    assert _gids(of_eve, "tellStopped", 0, 10) == [b, a]


def test_a_place_in_the_queue_is_a_priority(api: HttpApi, of_eve: Rpc) -> None:
    a, b, c = (_add(of_eve) for _ in range(3))
    moves = [
        (c, 0, "POS_SET", Priority.HIGH, [c, a, b]),
        (a, 0, "POS_END", Priority.LOW, [c, b, a]),
        (c, 1, "POS_CUR", Priority.NORMAL, [b, c, a]),
        (a, -1, "POS_CUR", Priority.NORMAL, [a, b, c]),
        (b, -5, "POS_SET", Priority.HIGH, [b, a, c]),
        (b, 7, "POS_SET", Priority.NORMAL, [a, b, c]),
        (b, -1, "POS_END", Priority.NORMAL, [a, b, c]),
        (b, 0, "POS_CUR", Priority.NORMAL, [a, b, c]),
    ]
    for gid, position, how, priority, order in moves:
        assert of_eve.call("changePosition", gid, position, how) == order.index(gid)
        assert _gids(of_eve, "tellWaiting", 0, 10) == order
        assert _job(api, gid).priority is priority
    with pytest.raises(RpcError, match=r"Illegal argument\."):
        of_eve.call("changePosition", a, 0, "POS_X")
    front = _add(of_eve, {}, 0)
    assert _gids(of_eve, "tellWaiting", 0, 1) == [front]
    of_eve.call("remove", a)
    with pytest.raises(RpcError, match="not found in the waiting queue"):
        of_eve.call("changePosition", a, 0, "POS_SET")


def test_long_lists_end(api: HttpApi, of_eve: Rpc) -> None:
    a, _, c = (_add(of_eve) for _ in range(3))
    places, where = QueuePlaces(api.system.runtime.database), JobFilter(user_id="eve")
    assert [gid_of(one) for one in places.waiting(where, limit=1)] == [a]
    for gid in (a, c):
        of_eve.call("remove", gid)
    assert [gid_of(one) for one in places.stopped(where, limit=1)] == [c]


def test_keys_choose_what_is_returned(of_eve: Rpc) -> None:
    gid = _add(of_eve)
    everything = of_eve.call("tellStatus", gid)
    assert of_eve.call("tellStatus", gid, []) == everything
    for name, value in everything.items():
        assert of_eve.call("tellStatus", gid, [name, "nope"]) == {name: value}
    texts = [value for name, value in everything.items() if name != "files"]
    assert all(isinstance(one, str) for one in texts)


#: aria2's number for one of our codes.
ERRORS = {
    "http_404": "3",
    "http_403": "24",
    "http_500": "22",
    "http_503": "29",
    "timeout": "2",
    "too_slow": "5",
    "no_such_host": "19",
    "connect": "6",
    "proxy_login": "6",
    "too_many_redirects": "23",
    "checksum_mismatch": "32",
    "disk_full": "9",
    "disk_error": "17",
    "internal": "1",
    "": "1",
}


def test_codes_of_errors() -> None:
    assert {code: error_code(code) for code in ERRORS} == ERRORS
