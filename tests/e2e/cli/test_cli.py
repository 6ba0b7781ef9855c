"""The commands besides `get`: the local stack, jobs, workers started by hand, and `seen doctor`."""

from __future__ import annotations

import base64
import json
import os
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.local_stack.log_files import MAX_LOG_BYTES
from tests.support.origins.origin import Origin
from tests.support.origins.resource import ServedFile
from tests.support.services.seen import Seen, is_alive
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until

MB = 1_000_000


@pytest.fixture
def seen(tmp_path: Path) -> Iterator[Seen]:
    with Seen(tmp_path) as person:
        yield person


@pytest.fixture
def with_store(tmp_path: Path, store: StoreServer) -> Iterator[Seen]:
    settings = {
        "SEEN_CACHE_ADDR": store.addr,
        "SEEN_CACHE_PASSWORD": store.password,
        "SEEN_ALLOWED_NETWORKS": "127.0.0.0/8",
        "SEEN_DOWNLOAD_DIR": str(tmp_path / "files"),
    }
    with Seen(tmp_path, **settings) as person:
        yield person


def findings(seen: Seen) -> dict[str, Any]:
    result = seen.run("doctor", "--json")
    return {one["check"]: one for one in result.json()}


def test_up_runs_everything_until_it_is_interrupted(seen: Seen, origin: Origin) -> None:
    film = origin.serve("/film.mkv", size=20 * MB)
    endless = origin.serve("/endless.bin", size=500 * MB, bytes_per_second=MB)
    up = seen.start("up", "--no-flower", "--no-api", "--download-dir", "films")
    stack = seen.wait_for_stack("store", "downloads", "maintenance", "beat")
    added = seen.good("add", film.url, endless.url, "--owner", "ann", "--directory", "new")
    film_id, endless_id = added.out.split()
    assert not added.err

    seen.good("watch", film_id)
    check_completed(seen, film_id, film)
    check_running(seen, endless_id)
    wait_until(lambda: findings(seen)["workers of maintenance"]["level"] == "ok", deadline=30)
    assert {one["level"] for one in findings(seen).values()} == {"ok"}
    assert "already running" in seen.run("up").error_line()
    assert seen.run("up").status == 2
    control_while_watched(seen, endless_id)

    up.send_signal(signal.SIGINT)
    assert up.wait(40) == 0, seen.printed
    assert seen.stack() is None
    assert not [pid for pid in (stack["pid"], *stack["pids"].values()) if is_alive(pid)]
    (left,) = seen.good("list", "--json", "--limit", "1").json()
    assert left["status"] == "queued"  # requeued, not lost


def check_completed(seen: Seen, job_id: str, file: ServedFile) -> None:
    path = seen.folder / "films/new/film.mkv"
    assert path.stat().st_size == file.size
    shown = seen.good("show", job_id, "--json").json()
    assert (shown["status"], shown["path"], shown["sha256"]) == (
        "completed",
        str(path),
        file.sha256,
    )
    assert [event["to_status"] for event in shown["events"]] == [
        "queued",
        "downloading",
        "verifying",
        "completed",
    ]


def check_running(seen: Seen, job_id: str) -> None:
    running = ("list", "--json", "--owner", "ann", "--status", "downloading")
    wait_until(lambda: seen.good(*running).json()[0]["progress_percent"], what="some progress")
    (listed,) = seen.good(*running).json()
    assert listed["id"] == job_id
    assert 0 < listed["progress_percent"] < 100
    assert job_id[:8] in seen.good("list").out
    assert job_id in seen.good("show", job_id).out


def control_while_watched(seen: Seen, job_id: str) -> None:
    """Pause, resume, cancel and retry a job while `seen watch` shows it."""
    watch = seen.start("watch", job_id, "--json")
    seen.good("pause", job_id)
    wait_until(lambda: '"status": "paused"' in seen.printed)
    seen.good("resume", job_id)
    cancelled = seen.good("cancel", job_id, "--json").json()
    assert [one["id"] for one in cancelled["changed"]] == [job_id]
    assert watch.wait(20) == 0
    objects = [json.loads(line) for line in seen.printed.splitlines() if line.startswith("{")]
    assert objects[-1]["status"] == "cancelled"
    assert not list((seen.folder / "films/new").glob(".*"))
    assert seen.run("resume", job_id).status == 2
    assert seen.good("retry", job_id).out.startswith(job_id)


def test_a_process_that_crashed_or_was_stopped_is_started_again(seen: Seen, origin: Origin) -> None:
    seen.start("up", "--no-flower", "--no-api")
    seen.wait_for_stack("store", "downloads", "maintenance", "beat")
    fetch(seen, origin.serve("/0.bin", size=1000).url)
    for number in (signal.SIGTERM, signal.SIGKILL):
        end_download_worker(seen, number)
        fetch(seen, origin.serve(f"/{number}.bin", size=1000).url)
    assert "downloads exited (status 0)" in seen.printed
    assert "downloads exited (signal 9)" in seen.printed
    check_full_log_is_rotated(seen.data_dir / "logs")


def fetch(seen: Seen, url: str) -> None:
    """Submit a download, and wait until it is complete."""
    (job_id,) = seen.good("add", url).out.split()
    seen.good("watch", job_id)


def end_download_worker(seen: Seen, number: int) -> None:
    """Send a signal to the stack's download worker, and wait until there is another one."""
    stack = seen.stack()
    assert stack is not None
    ended = stack["pids"]["downloads"]
    os.kill(ended, number)
    wait_until(
        lambda: (seen.stack() or stack)["pids"].get("downloads", ended) != ended,
        deadline=20,
        what="another download worker",
    )


def check_full_log_is_rotated(logs: Path) -> None:
    assert "downloads exited (signal 9)" in (logs / "supervisor.log").read_text()
    with (logs / "downloads.log").open("ab") as log:
        log.write(b"a line\n" * (MAX_LOG_BYTES // 7 + 1))
    wait_until(lambda: (logs / "downloads.log").stat().st_size < MAX_LOG_BYTES, deadline=20)
    assert (logs / "downloads.log.1").stat().st_size <= MAX_LOG_BYTES


def test_up_brings_flower_with_a_login(seen: Seen, free_port: int) -> None:
    seen.environment["SEEN_FLOWER_PORT"] = str(free_port)
    seen.start("up")
    stack = seen.wait_for_stack("flower")
    assert stack["flower_url"] == f"http://127.0.0.1:{free_port}/"
    assert stack["flower_password"] in seen.printed

    def status(login: str = "") -> int:
        headers = {"Authorization": f"Basic {base64.b64encode(login.encode()).decode()}"}
        request = urllib.request.Request(stack["flower_url"], headers=headers if login else {})
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            error.close()
            return error.code
        except OSError:
            return 0

    wait_until(lambda: status() == 401, deadline=30, interval=0.2, what="Flower asks for a login")
    assert status(f"{stack['flower_user']}:{stack['flower_password']}") == 200


def test_without_store_a_job_is_accepted_and_waits(tmp_path: Path, free_port: int) -> None:
    with Seen(tmp_path, SEEN_CACHE_ADDR=f"127.0.0.1:{free_port}") as seen:
        assert "Migrated to revision" in seen.good("db", "upgrade").out
        assert "the newest" in seen.good("db", "current").out
        added = seen.good("add", "http://example.com/file.bin")
        assert "The download starts when it does" in added.error_line()
        (job,) = seen.good("list", "--json").json()
        assert (job["id"], job["status"]) == (added.out.strip(), "queued")
        assert job["published_at"] is None
        assert seen.good("list", "--search", "FILE.bin", "--json").json() == [job]
        assert seen.good("list", "--search", "other").out == "There are no such jobs.\n"
        assert findings(seen)["store"]["level"] == "problem"
        assert seen.run("doctor").status == 1
        assert "no local stack" in seen.run("up").error_line()


def test_workers_by_hand_serve_a_configured_store(with_store: Seen, origin: Origin) -> None:
    file = origin.serve("/file.bin", size=1000)
    assert findings(with_store)["workers of downloads"]["level"] == "warning"
    worker = with_store.start("worker", "--concurrency", "2")
    wait_until(lambda: "ready." in with_store.printed, deadline=30)
    assert findings(with_store)["workers of downloads"]["level"] == "ok"

    result = with_store.good("get", file.url, "-o", "new/")
    assert "file.bin: 1.0 kB" in result.out
    path = Path(with_store.environment["SEEN_DOWNLOAD_DIR"]) / "new/file.bin"
    assert path.stat().st_size == 1000
    assert with_store.stack() is None

    worker.send_signal(signal.SIGTERM)
    assert worker.wait(20) == 0, with_store.printed


def test_beat_runs_in_the_foreground_and_logs_its_ticks_at_debug(with_store: Seen) -> None:
    with_store.environment["SEEN_LOG_LEVEL"] = "DEBUG"
    beat = with_store.start("beat")
    line = "DEBUG worker.celery_ext.scheduler: Sending due task download.requeue_due"
    wait_until(lambda: line in with_store.printed, deadline=30)
    beat.send_signal(signal.SIGTERM)
    beat.wait(20)
    assert not list(with_store.folder.iterdir())


@pytest.mark.parametrize("program", ["worker", "beat", "flower", "api"])
def test_programs_refuse_wrong_settings(tmp_path: Path, program: str) -> None:
    with Seen(tmp_path, SEEN_CACHE_ADDR="nowhere", SEEN_LOCK_TTL="-1") as seen:
        result = seen.run(program)
        assert result.status == 2
        assert "SEEN_CACHE_ADDR='nowhere'" in result.error_line()
        assert "SEEN_LOCK_TTL='-1'" in result.error_line()
        assert not seen.data_dir.exists()


def test_flower_refuses_to_start_without_password(with_store: Seen) -> None:
    result = with_store.run("flower")
    assert result.status == 2
    assert "SEEN_FLOWER_PASSWORD" in result.error_line()


def test_a_configured_database_is_migrated_on_purpose_only(seen: Seen, tmp_path: Path) -> None:
    seen.environment["SEEN_DATABASE_URL"] = f"sqlite:///{tmp_path / 'own.db'}"
    result = seen.run("list")
    assert result.status == 2
    assert result.error_line().endswith("Run: seen db upgrade")
    seen.good("db", "upgrade")
    assert seen.good("list").out == "There are no jobs yet.\n"


def test_modules_in_the_current_folder_do_no_harm(seen: Seen, origin: Origin) -> None:
    for name in ("settings.py", "celeryconfig.py", "tasks.py"):
        (seen.folder / name).write_text("raise SystemExit('not this one')")
    seen.environment["PYTHONSAFEPATH"] = "1"  # what the launcher's -P says
    file = origin.serve("/file.bin", size=1000)
    seen.good("get", file.url)


@pytest.mark.parametrize("command", [("get", "http://127.0.0.1:9/a"), ("up",)])
def test_a_stack_of_ones_own_keeps_off_a_shared_database(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    with Seen(tmp_path, SEEN_DATABASE_URL="postgresql://user:secret@db/seen") as seen:
        result = seen.run(*command)
        assert result.status == 2
        assert "SEEN_CACHE_ADDR names no store" in result.error_line()
        assert "secret" not in result.err
        assert not seen.data_dir.exists()


def test_secrets_for_workers_elsewhere_are_not_sealed_with_a_key_of_ones_own(
    tmp_path: Path, postgres_url: str
) -> None:
    with Seen(tmp_path, SEEN_DATABASE_URL=postgres_url) as seen:
        seen.good("db", "upgrade")
        result = seen.run("add", "http://example.com/a.bin", "--cookie", "a=b")
        assert result.status == 2
        assert "SEEN_SECRET_KEY" in result.error_line()
        assert seen.good("list", "--json").json() == []
        assert not (seen.data_dir / "secret.key").exists()
