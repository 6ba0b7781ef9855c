"""The timetable of periodic tasks: rhythm, what was missed, and clocks that were set."""

from __future__ import annotations

from worker.celery_ext.interval_schedule import IntervalSchedule

INF = float("inf")


def test_what_never_ran_is_due_at_once() -> None:
    table = IntervalSchedule({"a": 10, "b": 300})
    assert sorted(table.due(1000)) == ["a", "b"]
    assert table.wait(1000) == 0
    assert table.ages(1000) == {}


def test_an_entry_is_due_again_after_its_interval() -> None:
    table = IntervalSchedule({"a": 10, "b": 300})
    table.ran("a", 1000)
    table.ran("b", 1000)
    assert table.due(1009.9) == []
    assert table.wait(1008) == 2
    assert table.due(1010) == ["a"]
    assert table.ages(1004) == {"a": 4, "b": 4}


def test_the_longest_overdue_goes_first() -> None:
    table = IntervalSchedule({"a": 1, "b": 5, "c": 1})
    for name, moment in (("a", 12), ("b", 5), ("c", 3)):
        table.ran(name, moment)
    assert table.due(20) == ["c", "b", "a"]


def test_what_was_missed_is_due_once() -> None:
    table = IntervalSchedule({"a": 1})
    table.ran("a", 1000)
    assert table.due(9000) == ["a"]
    table.ran("a", 9000)
    assert table.due(9000.5) == []


def test_runs_elsewhere_are_learnt() -> None:
    table = IntervalSchedule({"a": 10, "b": 300, "new": 5})
    table.learn({"a": 4, "b": 400, "gone": 1}, now=1000)
    assert table.due(1000) == ["new", "b"]
    assert table.ages(1000) == {"a": 4, "b": 400}
    table.ran("new", 1000)
    table.ran("b", 1000)
    assert table.wait(1000) == 5


def test_what_is_known_to_be_later_stays() -> None:
    """A store may come back from an old snapshot."""
    table = IntervalSchedule({"a": 10})
    table.ran("a", 1000)
    table.learn({"a": 300}, now=1001)
    assert table.wait(1001) == 9
    table.learn({"a": 0.5}, now=1008)
    assert table.wait(1008) == 9.5


def test_a_clock_that_went_back_delays_an_entry_by_one_interval_at_most() -> None:
    table = IntervalSchedule({"a": 10})
    table.learn({"a": -7200}, now=1000)
    assert table.wait(1000) == 10


def test_nothing_is_ever_due_without_entries() -> None:
    table = IntervalSchedule({})
    assert table.due(1000) == []
    assert table.wait(1000) == INF
