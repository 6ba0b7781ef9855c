"""Text from an origin reaches the worker's log as visible characters, and forges no line."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.origins.origin import Origin
from tests.support.services.system import System
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until

#: What a Location header may bring. The origin sends it as Latin-1.
LOCATIONS = {
    "an escape sequence": "http://127.0.0.1:9/\x1b[31mred",
    "a one-byte escape sequence": "http://127.0.0.1:9/\x9b31mred",
    "next line": "http://127.0.0.1:9/a\x852026-01-01 00:00:00 INFO forged",
    "a direction": "http://127.0.0.1:9/\xe2\x80\xaeexe.bin",
    "another scheme": "x\x1b]0;owned\x07://h/",
    "no host": "http://\x1b[2J/",
}


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with StoreServer() as store, System(tmp_path_factory.mktemp("log"), store) as system:
        system.start_worker()
        yield system


@pytest.mark.parametrize("name", LOCATIONS)
def test_location_is_logged_as_visible_characters(
    system: System, origin: Origin, name: str
) -> None:
    file = origin.serve("/redirected", size=1, redirect=LOCATIONS[name])
    job = system.submit(file.url)
    wait_until(lambda: system.job(job).attempts, deadline=30, what="it was tried")
    wait_until(lambda: f"Job {job.id}" in system.logs(), deadline=30, what="the log names the job")
    lines = system.logs().split("\n")
    # Celery's banner has line breaks of its own, and comes before any job.
    assert all(line.isprintable() for line in lines)
    assert not any(line.startswith("2026-01-01 00:00:00 INFO forged") for line in lines)
