"""Jobs: the table of states, checksums, and requests that say what is wrong with them."""

from __future__ import annotations

from typing import Any

import pytest

from domain.errors import InvalidInputError
from domain.files import Checksum
from domain.job import FINISHED, RUNNING, TRANSITIONS, JobStatus
from domain.request import DownloadRequest
from tests.support.build import new_job

S = JobStatus
URL = "https://example.com/film.mkv"

LEGAL = {
    (S.QUEUED, S.DOWNLOADING),
    (S.QUEUED, S.PAUSED),
    (S.QUEUED, S.CANCELLED),
    (S.DOWNLOADING, S.VERIFYING),
    (S.DOWNLOADING, S.QUEUED),
    (S.DOWNLOADING, S.WAITING),
    (S.DOWNLOADING, S.PAUSED),
    (S.DOWNLOADING, S.FAILED),
    (S.DOWNLOADING, S.CANCELLED),
    (S.VERIFYING, S.COMPLETED),
    (S.VERIFYING, S.QUEUED),
    (S.VERIFYING, S.WAITING),
    (S.VERIFYING, S.PAUSED),
    (S.VERIFYING, S.FAILED),
    (S.VERIFYING, S.CANCELLED),
    (S.WAITING, S.QUEUED),
    (S.WAITING, S.PAUSED),
    (S.WAITING, S.CANCELLED),
    (S.PAUSED, S.QUEUED),
    (S.PAUSED, S.CANCELLED),
    (S.FAILED, S.QUEUED),
    (S.CANCELLED, S.QUEUED),
}


def test_the_table_has_exactly_the_legal_changes() -> None:
    assert {(source, to) for source, targets in TRANSITIONS.items() for to in targets} == LEGAL
    assert set(TRANSITIONS) == set(S)


def test_every_state_can_be_reached_from_queued() -> None:
    reached = {S.QUEUED}
    while more := {to for source in reached for to in TRANSITIONS[source]} - reached:
        reached |= more
    assert reached == set(S)


def sources_of(target: S) -> set[S]:
    return {source for source, targets in TRANSITIONS.items() if target in targets}


def test_nothing_leaves_completed_and_only_verifying_leads_there() -> None:
    assert TRANSITIONS[S.COMPLETED] == frozenset()
    assert sources_of(S.COMPLETED) == {S.VERIFYING}


def test_a_live_state_can_be_cancelled_and_a_finished_one_not() -> None:
    assert sources_of(S.CANCELLED) == set(S) - FINISHED
    assert sources_of(S.DOWNLOADING) == {S.QUEUED}


def test_no_state_leads_to_itself() -> None:
    assert all(state not in targets for state, targets in TRANSITIONS.items())


def test_running_and_finished_states() -> None:
    assert {S.DOWNLOADING, S.VERIFYING} == RUNNING
    assert {S.COMPLETED, S.FAILED, S.CANCELLED} == FINISHED
    assert {status for status in S if new_job(status=status).is_finished} == FINISHED


def test_the_table_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        TRANSITIONS[S.COMPLETED] = frozenset({S.QUEUED})  # type: ignore[index]


@pytest.mark.parametrize(
    ("algorithm", "length"), [("md5", 32), ("sha1", 40), ("sha256", 64), ("sha512", 128)]
)
def test_a_checksum_is_read_and_written(algorithm: str, length: int) -> None:
    digest = "0123456789abcdef" * 8
    read = Checksum.parse(f" {algorithm.upper()}:{digest[:length].upper()} ")
    assert read == Checksum(algorithm, digest[:length])
    assert str(read) == f"{algorithm}:{digest[:length]}"
    assert Checksum.parse(str(read)) == read


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "ALGORITHM:HEX"),
        ("a" * 64, "ALGORITHM:HEX"),
        ("crc32:aaaaaaaa", "md5, sha1, sha256, sha512"),
        ("sha256", "64 hexadecimal digits, this 0"),
        ("sha256:", "64 hexadecimal digits, this 0"),
        ("sha256:" + "a" * 63, "64 hexadecimal digits, this 63"),
        ("sha256:" + "a" * 65, "64 hexadecimal digits, this 65"),
        ("sha256:" + "g" * 64, "hexadecimal"),
        ("sha256:" + "a" * 64 + "\n:", "hexadecimal"),
    ],
)
def test_a_wrong_checksum_is_refused(text: str, says: str) -> None:
    with pytest.raises(InvalidInputError, match=says) as caught:
        Checksum.parse(text)
    assert caught.value.field == "checksum"


def test_a_request_needs_no_more_than_a_url() -> None:
    request = DownloadRequest(url=URL)
    assert (request.directory, request.name, request.overwrite) == ("", None, False)


def test_a_request_keeps_what_it_was_given() -> None:
    request = DownloadRequest(
        url=URL,
        directory="films/2026",
        name="Der Film – ü.mkv",
        checksum="SHA1:" + "A" * 40,
        user_id="user-456",
        max_attempts=1000,
    )
    assert request.checksum == "sha1:" + "a" * 40
    assert request.name == "Der Film – ü.mkv"


WRONG: list[tuple[str, Any]] = [
    ("url", "gopher://example.com/"),
    ("url", "http://example.com/\ud800"),
    ("url", 5),
    ("url", "http://example.com/" + "x" * 20_000),
    ("directory", "../x"),
    ("directory", "a/../../x"),
    ("directory", "a\0b"),
    ("directory", "x" * 256),
    ("directory", "a/" * 6000),
    ("directory", "a\ud800"),
    ("name", ""),
    ("name", "."),
    ("name", ".."),
    ("name", "a/b"),
    ("name", "a\\b"),
    ("name", "a\nb"),
    ("name", "a\x7f"),
    ("name", "x" * 201),
    ("name", "ü" * 101),
    ("name", "a\ud800"),
    ("name", ".seen-01890a5d-ac96-774b-bcce-b302099a8057.part"),
    ("checksum", "sha256:x"),
    ("user_id", ""),
    ("user_id", "x" * 201),
    ("user_id", "a\0b"),
    ("user_id", "a\ud800"),
    ("max_attempts", 0),
    ("max_attempts", 1001),
    ("max_attempts", "many"),
    ("overwrite", "perhaps"),
    ("mirrors", ["gopher://example.com/x"]),
    ("mirrors", ["http://user:pw@example.com/x"]),
    ("mirrors", [f"http://example.com/{number}" for number in range(21)]),
    ("mirrors", "http://example.com/x"),
    ("max_bytes", 0),
    ("max_rate", 0),
    ("max_rate", 1023),
    ("max_rate", 2**50 + 1),
    ("max_rate", -5),
    ("max_bytes", 2**63),
    ("connections", 0),
    ("connections", 33),
    ("decode", "perhaps"),
    ("colour", "blue"),
]


@pytest.mark.parametrize(("field", "value"), WRONG)
def test_a_wrong_request_names_its_field(field: str, value: Any) -> None:
    with pytest.raises(InvalidInputError) as caught:
        DownloadRequest(**{"url": URL, field: value})
    assert caught.value.field == field
    assert str(caught.value).startswith(f"{field}: ")
    assert caught.value.remedy


def test_a_request_without_url_names_it() -> None:
    with pytest.raises(InvalidInputError, match=r"^url: "):
        DownloadRequest.model_validate({})


def test_a_shown_value_is_shortened() -> None:
    assert len(str(InvalidInputError("field", "x" * 10_000, "Shorter."))) < 200
