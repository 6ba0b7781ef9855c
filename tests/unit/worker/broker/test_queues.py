"""In which order a worker looks into its queues: high first, and none of them waits for ever."""

from __future__ import annotations

from collections import Counter

import pytest

from domain.job import Priority
from worker.broker.queues import (
    DOWNLOAD_QUEUES,
    REQUEUED_QUEUES,
    PriorityOrder,
    priority_of,
    queue_of,
)

REQUEUED, FORMER, HIGH, NORMAL, LOW = DOWNLOAD_QUEUES


def served(waiting: dict[str, int], count: int) -> list[str]:
    """Take `count` messages as a consumer would, from queues with so many in them."""
    order = PriorityOrder([LOW, NORMAL, HIGH, FORMER, REQUEUED])
    left, taken = Counter(waiting), []
    for _ in range(count):
        queue = next(queue for queue in order.consume(5) if left[queue])
        left[queue] -= 1
        taken.append(order.rotate(queue))
    return taken


def test_every_priority_has_a_queue() -> None:
    assert [queue_of(priority) for priority in Priority] == [HIGH, NORMAL, LOW]
    assert [priority_of(queue) for queue in DOWNLOAD_QUEUES] == [None, None, *Priority]
    assert (REQUEUED, FORMER) == REQUEUED_QUEUES


@pytest.mark.parametrize("queue", ["maintenance", "downloads", "downloads.", "high", "", "x.high"])
def test_other_queues_have_none(queue: str) -> None:
    assert priority_of(queue) is None


def test_high_is_served_first_and_low_is_not_starved() -> None:
    taken = served({HIGH: 1200, NORMAL: 1200, LOW: 1200}, 120)
    assert taken[:2] == [HIGH, HIGH]
    assert Counter(taken) == {HIGH: 80, NORMAL: 30, LOW: 10}


def test_requeued_jobs_go_first_and_no_queue_starves() -> None:
    taken = served({REQUEUED: 1200, HIGH: 1200, NORMAL: 1200, LOW: 1200}, 120)
    assert taken[:2] == [REQUEUED, REQUEUED]
    assert Counter(taken) == {REQUEUED: 50, HIGH: 30, NORMAL: 30, LOW: 10}


def test_requeued_jobs_go_first_beside_one_other_priority() -> None:
    assert Counter(served({REQUEUED: 1200, HIGH: 1200}, 120)) == {REQUEUED: 90, HIGH: 30}
    assert Counter(served({REQUEUED: 1200, LOW: 1200}, 120)) == {REQUEUED: 110, LOW: 10}


def test_the_former_queue_of_requeued_jobs_is_read_after_the_new_one() -> None:
    assert served({REQUEUED: 2, FORMER: 2, HIGH: 2}, 6)[:2] == [REQUEUED, REQUEUED]
    assert Counter(served({FORMER: 1200, LOW: 1200}, 120)) == {FORMER: 110, LOW: 10}


def test_what_is_empty_is_passed_over() -> None:
    assert set(served({LOW: 5}, 5)) == {LOW}
    assert Counter(served({NORMAL: 1000, LOW: 1000}, 120)) == {NORMAL: 110, LOW: 10}


def test_low_comes_last_when_nothing_starves() -> None:
    taken = served({HIGH: 2, NORMAL: 2, LOW: 2}, 6)
    assert taken == [HIGH, HIGH, NORMAL, NORMAL, LOW, LOW]


def test_other_queues_come_last_in_their_own_order() -> None:
    order = PriorityOrder(["b", LOW, "a", HIGH])
    assert order.consume(9) == [HIGH, LOW, "b", "a"]
    order.update([NORMAL])
    assert order.consume(9) == [NORMAL]
