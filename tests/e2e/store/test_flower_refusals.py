"""Flower at a store that refuses, from its start or later: it stays up, logs it once and continues.

Each refusal at one of the two moments; with the environment variable SEEN_TEST_FULL=1 at both.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.deployment.test_flower import Flower, worker_of
from tests.support.environment import FULL
from tests.support.services.system import System
from tests.support.stores.refusing import refuse_everything
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until

#: In which everything that a quick Flower does again and again has been refused twice. Seconds.
TWO_ROUNDS = 3.0
#: What the store says to every command.
SAID = {
    "READONLY": "READONLY You can't write against a read only replica.",
    "NOPERM": "NOPERM this user has no permissions to run the 'brpop' command",
    "OOM": "OOM command not allowed when used memory > 'maxmemory'.",
    "LOADING": "LOADING Dragonfly is loading the dataset in memory",
    "WRONGPASS": "WRONGPASS invalid username-password pair or user is disabled.",
}


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    with StoreServer(stand_in=True) as store, System(tmp_path, store) as system:
        yield system


BEGINS = ("before-its-start", "later")
CASES = [
    (way, begins)
    for number, way in enumerate(SAID)
    for begins in (BEGINS if FULL else BEGINS[number % 2 : number % 2 + 1])
]


@pytest.mark.parametrize(("way", "begins"), CASES)
def test_flower_survives_a_refusing_store_and_logs_it_once(
    system: System, way: str, begins: str
) -> None:
    flower = Flower(system, quick=True)
    try:
        if begins == "later":
            process = flower.start()
            refuse_everything(system.store, SAID[way])
        else:
            refuse_everything(system.store, SAID[way])
            process = flower.start()
        wait_until(lambda: "The store refuses" in flower.log(), deadline=60, what="it says so")
        # Its timer for workers that start later fires every half second.
        time.sleep(TWO_ROUNDS)
        assert process.poll() is None, flower.log()
        refused = flower.log()
        system.store.accept()
        system.start_worker()

        wait_until(lambda: worker_of(flower), deadline=60, what="it receives the worker's events")
        wait_until(lambda: "that is over, after" in flower.log(), what="it says so")

        assert process.poll() is None
        assert "Traceback" not in flower.log()
        assert refused.count("The store refuses") == 1, refused
        assert "failed" not in refused.lower(), refused
    finally:
        flower.stop()
