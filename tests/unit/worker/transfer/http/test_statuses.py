"""Number by number: what a status means (RFC 9110, section 15)."""

from __future__ import annotations

import pytest

from worker.transfer.http.statuses import Meaning, describe, meaning

M = Meaning

#: Each row holds numbers, what all of them mean, and why.
TABLE = [
    ([0, *range(1, 100)], M.RETRY, "no valid status: counts as 500"),
    (range(100, 200), M.RETRY, "an interim answer cannot be the last one"),
    ([200, 203], M.FILE, "the file, as it is or as a proxy changed it"),
    ([202], M.RETRY, "the file is being prepared"),
    ([204, 205], M.FAIL, "nothing to store"),
    ([206], M.PART, "a range"),
    ([201, *range(207, 300)], M.FILE, "counts as 200"),
    ([300, 301, 302, 303, 307, 308], M.REDIRECT, "a redirect where Location says so"),
    ([304, 305, 306], M.FAIL, "not asked for, deprecated, unused"),
    (range(309, 400), M.REDIRECT, "counts as 300"),
    ([408, 421, 423, 425, 429], M.RETRY, "may pass by itself"),
    (
        [400, 401, 402, 403, 404, 405, 406, 407, 409, 410, 411, 412, 413, 414, 415, 416, 417, 418],
        M.FAIL,
        "the same request is refused again",
    ),
    ([422, 424, 426, 428, 431, 451], M.FAIL, "the same request is refused again"),
    ([419, 420, 427, 430, *range(432, 451), *range(452, 500)], M.FAIL, "counts as 400"),
    ([500, 502, 503, 504, 506, 507, 508, 511], M.RETRY, "the server's own trouble"),
    ([501, 505, 510], M.FAIL, "the server cannot do it"),
    ([509, *range(512, 600)], M.RETRY, "counts as 500"),
    (range(600, 1000), M.RETRY, "no valid status: counts as 500"),
]


@pytest.mark.parametrize(("statuses", "expected", "why"), TABLE, ids=[row[2] for row in TABLE])
def test_status_means_what_its_class_or_its_own_entry_says(
    statuses: list[int], expected: Meaning, why: str
) -> None:
    assert {status: meaning(status) for status in statuses} == dict.fromkeys(statuses, expected), (
        why
    )


def test_table_above_names_every_status_from_0_to_999() -> None:
    assert sorted(status for row in TABLE for status in row[0]) == sorted(range(1000))


def test_every_status_can_be_described() -> None:
    assert all(str(status) in describe(status) for status in range(1000))
