"""`seen get` in a fresh folder, without any configuration."""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import signal
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.origins.origin import Origin
from tests.support.services.seen import Seen, is_alive
from tests.support.wait import wait_until

MB = 1_000_000
#: Another connection would fetch what lies behind a gate.
ALONE = ("--connections", "1")


@pytest.fixture
def seen(tmp_path: Path) -> Iterator[Seen]:
    with Seen(tmp_path) as person:
        yield person


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def test_a_large_file_arrives_whole_and_nothing_stays_behind(seen: Seen, origin: Origin) -> None:
    film = origin.serve("/film.mkv", size=200 * MB)
    get = seen.start("get", film.url, "-o", "films/new/", "--sha256", film.sha256)
    stack = seen.wait_for_stack("store", "downloads")
    assert (seen.data_dir / "stack.json").stat().st_mode & 0o777 == 0o600

    assert get.wait(60) == 0, seen.printed

    path = seen.folder / "films/new/film.mkv"
    assert digest(path) == film.sha256
    assert [entry.name for entry in path.parent.iterdir()] == ["film.mkv"]
    assert f"film.mkv: 200.0 MB → {path}" in seen.printed
    assert "\x1b" not in seen.printed
    assert "\r" not in seen.printed
    assert seen.stack() is None
    assert not [pid for pid in (stack["pid"], *stack["pids"].values()) if is_alive(pid)]
    assert not Path(stack["cache_addr"].removeprefix("unix://")).parent.exists()
    # Each process has closed its connections: all is in the database's own file.
    assert [path.name for path in seen.data_dir.glob("seen.db*")] == ["seen.db"]

    (job,) = seen.good("list", "--json").json()
    assert job["status"] == "completed"
    assert job["bytes_downloaded"] == job["bytes_total"] == 200 * MB
    assert job["path"] == str(path)
    with sqlite3.connect(seen.data_dir / "seen.db") as database:
        rows = database.execute(
            "SELECT status, bytes_downloaded, bytes_total, sha256 FROM jobs"
        ).fetchall()
    database.close()
    assert rows == [("completed", 200 * MB, 200 * MB, film.sha256)]


def test_two_at_once_share_one_stack_until_the_last_is_done(seen: Seen, origin: Origin) -> None:
    first_gate, second_gate = threading.Event(), threading.Event()
    first = origin.serve("/first.bin", size=2 * MB, gate=first_gate, gate_after=MB)
    second = origin.serve("/second.bin", size=2 * MB, gate=second_gate, gate_after=MB)
    one = seen.start("get", first.url, *ALONE)
    stack = seen.wait_for_stack("downloads")
    two = seen.start("get", second.url, *ALONE)
    wait_until(lambda: origin.requests_for("/second.bin"), deadline=30)

    first_gate.set()
    assert one.wait(60) == 0, seen.printed
    left = seen.stack()
    assert left is not None
    assert left["pid"] == stack["pid"]

    second_gate.set()
    assert two.wait(60) == 0, seen.printed
    assert digest(seen.folder / "first.bin") == first.sha256
    assert digest(seen.folder / "second.bin") == second.sha256
    assert not is_alive(stack["pid"])


def test_a_name_that_is_taken_gets_a_number(seen: Seen, origin: Origin) -> None:
    (seen.folder / "note.txt").write_text("mine")
    file = origin.serve("/note.txt", body=b"theirs")
    seen.good("get", file.url)
    assert (seen.folder / "note.txt").read_text() == "mine"
    assert (seen.folder / "note (1).txt").read_bytes() == b"theirs"


def test_a_failure_is_reported_in_one_line(seen: Seen, origin: Origin) -> None:
    good = origin.serve("/good.bin", size=1000)
    bad = origin.serve("/bad.bin", size=1000)
    result = seen.run("get", origin.url("/missing.bin"), good.url)
    assert result.status == 1
    assert result.error_line() == (
        "seen: missing.bin: failed: The origin answered 404 Not Found. Check the URL."
    )
    assert "404" not in result.out
    assert re.search(r"^1 of 2 files, 1\.0 kB in .*; 1 failed$", result.out, re.MULTILINE)
    assert visible(seen.folder) == ["good.bin"]

    result = seen.run("get", bad.url, "--sha256", "0" * 64)
    assert result.status == 1
    assert f"sha256 is {bad.sha256}" in result.error_line()
    assert visible(seen.folder) == ["good.bin"]


def test_json_is_the_finished_jobs(seen: Seen, origin: Origin) -> None:
    file = origin.serve("/file.bin", size=1000)
    url = f"{file.url}?token=hunter2"
    result = seen.good("get", url, "--json", "-o", "new/mine.bin")
    (job,) = result.json()
    assert (job["status"], job["sha256"], job["url"]) == ("completed", file.sha256, url)
    assert job["path"] == str(seen.folder / "new/mine.bin")
    secret = seen.good("get", url, "--json", "-o", "new/", "--secret-url")
    assert secret.json()[0]["url"] == f"http://127.0.0.1:{origin.port}/…"
    assert "hunter2" not in str(secret)


def test_quiet_prints_errors_only_and_every_job_has_its_options(seen: Seen, origin: Origin) -> None:
    urls = [origin.serve(f"/{name}.bin", size=MB).url for name in "ab"]
    options = ("-q", "-j", "1", "--limit-rate", "50M", "--no-origin-checksum")
    result = seen.run("get", *options, *urls, origin.url("/none.bin"))
    assert (result.status, result.out) == (1, "")
    assert result.error_line().startswith("seen: none.bin: failed")
    assert visible(seen.folder) == ["a.bin", "b.bin"]
    jobs = seen.good("list", "--json").json()
    assert [(job["priority"], job["max_rate"]) for job in jobs] == [("high", 50_000_000)] * 3
    # Each started when the one before had ended.
    by_age = sorted(jobs, key=lambda job: job["id"])
    for one, following in itertools.pairwise(by_age):
        assert one["finished_at"] <= following["created_at"]


def test_interrupted_it_pauses_and_the_same_command_continues(seen: Seen, origin: Origin) -> None:
    gate = threading.Event()
    file = origin.serve("/long.bin", size=20 * MB, gate=gate, gate_after=10 * MB)
    get = seen.start("get", file.url, *ALONE)
    wait_until(
        lambda: [r for r in origin.requests_for("/long.bin") if r.bytes_sent >= 10 * MB],
        deadline=30,
    )
    get.send_signal(signal.SIGINT)
    assert get.wait(30) == 130
    assert "The same command continues" in seen.printed
    (job,) = seen.good("list", "--json").json()
    assert job["status"] == "paused"
    assert not visible(seen.folder)

    gate.set()
    result = seen.good("get", file.url, *ALONE)
    assert "continuing an earlier download" in result.out
    last = origin.requests_for("/long.bin")[-1]
    assert last.range is not None
    assert last.range[0] > 0
    assert digest(seen.folder / "long.bin") == file.sha256
    assert [job["status"] for job in seen.good("list", "--json").json()] == ["completed"]


def test_the_same_secrets_continue_and_others_do_not(seen: Seen, origin: Origin) -> None:
    gate = threading.Event()
    file = origin.serve("/long.bin", size=2 * MB, gate=gate, gate_after=MB)
    options = (*ALONE, "-u", "me:hunter2", "-H", "X-Key: hunter2", "--max-bytes", "3M")
    get = seen.start("get", file.url, *options)
    wait_until(
        lambda: [r for r in origin.requests_for("/long.bin") if r.bytes_sent >= MB], deadline=30
    )
    get.send_signal(signal.SIGINT)
    assert get.wait(30) == 130
    gate.set()

    other = seen.good("get", file.url, *options[:-2], "--name", "other.bin", "-b", "a=b")
    assert "continuing" not in other.out
    assert "continuing an earlier download" in seen.good("get", file.url, *options).out
    last = origin.requests_for("/long.bin")[-1]
    assert last.headers["x-key"] == "hunter2"
    assert last.range is not None
    assert digest(seen.folder / "long.bin") == file.sha256
    assert (seen.data_dir / "secret.key").stat().st_mode & 0o777 == 0o600
    files = [path for path in seen.data_dir.rglob("*") if path.is_file()]
    assert not [path for path in files if b"hunter2" in path.read_bytes()]


def test_a_killed_stack_leaves_no_process_and_the_same_command_goes_on(
    seen: Seen, origin: Origin
) -> None:
    gate = threading.Event()
    file = origin.serve("/long.bin", size=2 * MB, gate=gate, gate_after=MB)
    get = seen.start("get", file.url, *ALONE)
    wait_until(lambda: origin.requests_for("/long.bin"), deadline=30)
    stack = seen.wait_for_stack("downloads")
    os.kill(stack["pid"], signal.SIGKILL)
    wait_until(lambda: not any(is_alive(pid) for pid in stack["pids"].values()))
    assert get.wait(30) == 1
    assert "The local stack was stopped" in seen.printed

    gate.set()
    seen.good("get", file.url, *ALONE)
    assert digest(seen.folder / "long.bin") == file.sha256
    assert not Path(stack["cache_addr"].removeprefix("unix://")).parent.exists()


def test_a_killed_command_leaves_its_stack_to_stop_by_itself(seen: Seen, origin: Origin) -> None:
    gate = threading.Event()
    file = origin.serve("/long.bin", size=2 * MB, gate=gate, gate_after=MB)
    get = seen.start("get", file.url, *ALONE)
    wait_until(lambda: origin.requests_for("/long.bin"), deadline=30)
    stack = seen.wait_for_stack("downloads")
    get.kill()
    wait_until(lambda: not is_alive(stack["pid"]), deadline=40, what="the deserted stack stops")
    assert not any(is_alive(pid) for pid in stack["pids"].values())
    (job,) = seen.good("list", "--json").json()
    assert job["status"] == "queued"

    gate.set()
    seen.good("get", file.url, *ALONE)
    assert digest(seen.folder / "long.bin") == file.sha256
    assert len(seen.good("list", "--json").json()) == 1


URL = "http://example.com/file.bin"
WRONG = {
    "unknown scheme": ["get", "gopher://example.com/file.bin"],
    "no host": ["get", "http:///file.bin"],
    "over-long URL": ["get", f"http://example.com/{'x' * 9000}"],
    "far too long URL": ["get", f"http://example.com/{'x' * 11_000}"],
    "credentials": ["get", "http://me:hidden@example.com/"],
    "short checksum": ["get", URL, "--sha256", "abc"],
    "unknown algorithm": ["get", URL, "--checksum", "crc:00"],
    "both checksums": ["get", URL, "--sha256", "0" * 64, "--checksum", f"md5:{'0' * 32}"],
    "checksum for two": ["get", URL, f"{URL}2", "--sha256", "0" * 64],
    "name with a slash": ["get", URL, "--name", "../x"],
    "name for two": ["get", URL, f"{URL}2", "--name", "x"],
    "mirror for two": ["get", URL, f"{URL}2", "--mirror", f"{URL}3"],
    "mirror of another kind": ["get", URL, "--mirror", "file:///etc/passwd"],
    "header of the service": ["get", URL, "-H", "Range: hidden"],
    "header without colon": ["get", URL, "-H", "hidden"],
    "line break in a header": ["get", URL, "-H", "X: hidden\r\nY: z"],
    "login without password": ["get", URL, "-u", "hidden"],
    "login twice": ["add", URL, "-u", "me:hidden", "-H", "Authorization: hidden"],
    "cookies in a missing file": ["add", URL, "-b", "@/nowhere"],
    "no size": ["get", URL, "--max-bytes", "much"],
    "too many connections": ["get", URL, "--connections", "33"],
    "output is a file": ["get", URL, "-o", "/etc/passwd"],
    "no URL": ["get"],
    "unknown option": ["get", URL, "--fast"],
    "unknown command": ["fetch", URL],
    "unknown job": ["show", "01a205a2-8d4a-7189-808b-c3a4c179e67d"],
    "no job id": ["show", "42"],
    "unknown job to cancel": ["cancel", "42"],
    "no attempts": ["add", URL, "--max-attempts", "0"],
    "negative limit": ["list", "--limit", "-1"],
    "unknown state": ["list", "--status", "sleeping"],
}


@pytest.mark.parametrize("arguments", WRONG.values(), ids=WRONG.keys())
def test_wrong_input_is_refused_before_anything_happens(seen: Seen, arguments: list[str]) -> None:
    result = seen.run(*arguments)
    assert result.status == 2, result
    assert "hidden" not in result.error_line()
    assert not result.out
    assert not seen.data_dir.exists()
    assert not visible(seen.folder)

    as_json = seen.run(*arguments, "--json")
    assert as_json.status == 2
    assert as_json.json()["error"].keys() == {"code", "message"}
    assert not as_json.err


def test_a_list_is_downloaded_and_what_is_wrong_with_it_is_named(
    seen: Seen, origin: Origin
) -> None:
    files = [origin.serve(f"/{number}.bin", body=bytes([number]) * 1000) for number in range(30)]
    lines = [*(file.url for file in files), "  out=last.bin", "  dir=inner", "no URL"]
    lines += [origin.url("/missing.bin"), files[0].url]
    (seen.folder / "urls.txt").write_text("\n".join(lines))

    refused = seen.run("get", "-i", "urls.txt", "-o", "to/")
    assert refused.status == 2
    assert "seen: urls.txt, line 33: url: 'no URL' is not valid." in refused.err
    assert not (seen.folder / "to").exists()

    result = seen.run("get", "-i", "urls.txt", "--skip-bad", "-o", "to/", "--json")
    assert result.status == 1
    bad, *jobs = result.json()
    assert bad["line"] == 33
    assert [job["status"] for job in jobs] == ["completed"] * 30 + ["failed"]
    assert visible(seen.folder / "to") == sorted([*(f"{n}.bin" for n in range(29)), "inner"])
    assert digest(seen.folder / "to/inner/last.bin") == files[29].sha256
    assert all(digest(seen.folder / f"to/{n}.bin") == files[n].sha256 for n in range(29))
    assert "seen: urls.txt: 1 line repeats others; each download is accepted once." in result.err
