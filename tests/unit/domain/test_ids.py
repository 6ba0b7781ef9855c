"""Job ids: UUID version 7, in order of creation."""

from __future__ import annotations

import threading
import time
import uuid

import pytest

from domain.ids import is_job_id, new_job_id


def test_an_id_is_a_version_7_uuid_of_the_rfc_variant() -> None:
    for _ in range(200):
        parsed = uuid.UUID(new_job_id())
        assert parsed.version == 7
        assert parsed.variant == uuid.RFC_4122
        assert parsed.int >> 62 & 0b11 == 0b10


def test_an_id_begins_with_the_time_in_milliseconds() -> None:
    before = time.time_ns() // 1_000_000
    stamp = uuid.UUID(new_job_id()).int >> 80
    # Ids made faster than 1/4096 ms run ahead of the clock a little.
    assert before <= stamp <= time.time_ns() // 1_000_000 + 50


def test_ids_sort_in_order_of_creation() -> None:
    made = [new_job_id() for _ in range(10_000)]
    assert made == sorted(made)
    assert len(set(made)) == len(made)


def test_ids_of_several_threads_are_distinct_and_ordered_in_each() -> None:
    made: list[list[str]] = [[] for _ in range(4)]

    def make(ids: list[str]) -> None:
        ids.extend(new_job_id() for _ in range(2000))

    threads = [threading.Thread(target=make, args=(ids,)) for ids in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(ids == sorted(ids) for ids in made)
    assert len({one for ids in made for one in ids}) == 8000


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("01890a5d-ac96-774b-bcce-b302099a8057", True),
        ("01890A5D-AC96-774B-BCCE-B302099A8057", False),
        ("01890a5dac96774bbcceb302099a8057", False),
        ("{01890a5d-ac96-774b-bcce-b302099a8057}", False),
        ("urn:uuid:01890a5d-ac96-774b-bcce-b302099a8057", False),
        ("job-123", False),
        ("", False),
    ],
)
def test_only_the_canonical_form_is_a_job_id(text: str, answer: bool) -> None:
    assert is_job_id(text) is answer


def test_a_new_id_is_a_job_id() -> None:
    assert is_job_id(new_job_id())
