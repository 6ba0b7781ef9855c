"""What is broken when follows from the seed alone, and two faults of one thing do not overlap."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tests.chaos.faults import inject_by_kind
from tests.chaos.schedule import OLD, DatabaseKind, Fault, Kind, StoreKind, draw, possible_kinds


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_a_seed_means_one_schedule(database: DatabaseKind) -> None:
    assert draw(7, 200, database) == draw(7, 200, database)
    assert draw(7, 200, database) != draw(8, 200, database)


def test_a_longer_run_begins_as_the_shorter_one() -> None:
    assert draw(7, 300, "postgres")[:100] == draw(7, 100, "postgres")


def test_everything_happens_in_a_long_run() -> None:
    assert {fault.kind for fault in draw(1, 1000, "postgres", "stand-in")} == set(Kind)


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
@pytest.mark.parametrize("store", ["redis", "stand-in", "dragonfly"])
def test_only_possible_faults_are_drawn(database: DatabaseKind, store: StoreKind) -> None:
    drawn = {fault.kind for fault in draw(1, 1000, database, store)}
    assert drawn == possible_kinds(database, store)


def test_every_kind_can_be_done() -> None:
    assert set(inject_by_kind) == set(Kind)


@pytest.mark.parametrize("seed", range(5))
def test_a_thing_is_well_before_it_is_broken_again(seed: int) -> None:
    by_thing: dict[tuple[str, int | None], list[Fault]] = {}
    for fault in draw(seed, 500, "postgres"):
        # The first word of a kind says what it is about: a worker, the store, a line.
        by_thing.setdefault((fault.kind.split()[0], fault.worker), []).append(fault)
    for faults in by_thing.values():
        assert all(before.ends < after.at for before, after in pairwise(faults))


@pytest.mark.parametrize("seed", range(5))
def test_an_old_snapshot_was_saved_some_faults_before(seed: int) -> None:
    faults = {fault.number: fault for fault in draw(seed, 500, "sqlite")}
    for fault in faults.values():
        if fault.kind is Kind.STORE_OLD:
            assert faults[int(fault.amount)].kind is Kind.STORE_SAVED
            assert fault.number - fault.amount >= OLD
