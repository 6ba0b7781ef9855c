"""SEEN_LOG_FORMAT=json: each line of each process of `seen up` is a record."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.origins.origin import Origin
from tests.support.services.seen import Seen
from tests.support.wait import wait_until
from worker.process import listening

#: The store has the format of its server.
ROLES = {"api", "beat", "downloads", "flower", "maintenance", "supervisor"}
FIELDS = {"timestamp", "level", "logger", "event", "message", "role", "host", "pid", "worker"}
SECRET = "hunter2hunter2"


def _records(text: str) -> list[dict[str, Any]]:
    *lines, end = text.split("\n")
    assert end == ""
    return [json.loads(line) for line in lines]


class Logs:
    """The logs of a local stack."""

    def __init__(self, seen: Seen) -> None:
        self._folder = seen.data_dir / "logs"

    def records(self, role: str) -> list[dict[str, Any]]:
        """Return what a process has logged, up to the last whole line."""
        whole, _, _ = (self._folder / f"{role}.log").read_text().rpartition("\n")
        return [json.loads(line) for line in whole.splitlines()]

    def wait_for(self, role: str, **fields: object) -> dict[str, Any]:
        """Wait for a record with these fields, and return it."""

        def found() -> dict[str, Any] | None:
            fit = (one for one in self.records(role) if fields.items() <= one.items())
            return next(fit, None)

        record = wait_until(found, deadline=60, what=f"{role} logs {fields}")
        assert record is not None
        return record


@pytest.fixture
def seen(tmp_path: Path, free_port: int) -> Iterator[Seen]:
    settings = {
        "SEEN_LOG_FORMAT": "json",
        "SEEN_LOG_LEVEL": "DEBUG",
        "SEEN_API_PORT": str(free_port),
        "SEEN_FLOWER_PORT": str(listening.free_port("127.0.0.1")),
    }
    with Seen(tmp_path, **settings) as seen:
        yield seen


def test_each_line_of_a_stack_with_downloads_is_a_record(
    seen: Seen, free_port: int, origin: Origin
) -> None:
    file, logs = origin.serve("/file.bin", size=100_000), Logs(seen)
    up = seen.start("up")
    stack = seen.wait_for_stack(*ROLES - {"supervisor"})
    whole = seen.good("add", file.url).out.strip()
    missing = seen.good("add", f"{origin.url('/missing')}?token={SECRET}").out.strip()
    logs.wait_for("downloads", event="download.completed", job_id=whole, fence=1)
    logs.wait_for("downloads", event="download.claimed", job_id=missing, fence=1)
    failed = {"event": "download.failed", "job_id": missing, "error_code": "http_404"}
    logs.wait_for("downloads", **failed)
    logs.wait_for("flower", logger="flower.command", level="info")
    logs.wait_for("api", message="Application startup complete.")
    _request_with_secrets(free_port)
    request = {"method": "GET", "path": "/v1/downloads", "status": 401, "client": "127.0.0.1"}
    logs.wait_for("api", event="http.request", **request)
    up.send_signal(signal.SIGTERM)
    up.wait(60)

    found = {role: logs.records(role) for role in ROLES} | {"stdout": _records(seen.printed)}
    for role, lines in found.items():
        assert all(line.keys() >= FIELDS for line in lines), role
        assert {line["role"] for line in lines} == {"supervisor" if role == "stdout" else role}
    assert SECRET not in json.dumps(found)
    # What a person needs once is no part of a log.
    assert stack["flower_password"] not in json.dumps(found)
    assert {"stack.started", "stack.stopped"} <= {one["event"] for one in found["supervisor"]}


def _request_with_secrets(port: int) -> None:
    url = f"http://127.0.0.1:{port}/v1/downloads?token={SECRET}"
    assert httpx.get(url, headers={"Authorization": f"Bearer {SECRET}"}).status_code == 401


@pytest.mark.parametrize("service", ["worker", "beat"])
def test_celerys_own_command_line_prints_records_alone(
    service: str, tmp_path: Path, free_port: int
) -> None:
    settings = {"SEEN_LOG_FORMAT": "json", "SEEN_CACHE_ADDR": f"127.0.0.1:{free_port}"}
    with Seen(tmp_path, **settings) as seen:
        options = ["-l", "INFO", *(["-Q", "maintenance"] if service == "worker" else [])]
        process = seen.start_module("celery", "-A", "worker.app", service, *options)
        # There is no store.
        wait_until(lambda: "onnect" in seen.printed, deadline=60, what="it has tried to connect")
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        records = _records(seen.printed)
    assert {one["role"] for one in records} == {service}
    assert any("onnect" in one["message"] and "level" in one for one in records)


def test_what_is_wrong_at_the_start_is_a_record(tmp_path: Path) -> None:
    with Seen(tmp_path, SEEN_LOG_FORMAT="json", SEEN_MAX_ATTEMPTS="many") as seen:
        beat = seen.start_module("worker.celery_ext.main", "beat")
        api = seen.start_module("api.server")
        assert beat.wait(60)
        assert api.wait(60)
        records = _records(seen.printed)
        assert {one["role"] for one in records} == {"api", "beat"}
        assert all("SEEN_MAX_ATTEMPTS" in one["message"] for one in records)
