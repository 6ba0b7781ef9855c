"""The table of refusals knows every text of every server, wherever it stands, and nothing else."""

from __future__ import annotations

import re
from typing import Any

import pytest
from redis._parsers.base import BaseParser as _Parser
from redis.client import Pipeline as _Pipeline
from redis.exceptions import NoScriptError, ResponseError

from cache.store.connection import is_unavailable, unavailable_error
from cache.store.refusals import REFUSALS, find_refusal, server_message
from domain.errors import StoreRefusesError
from tests.support.stores.refusal_texts import NO_REFUSALS, SHA, TEXTS, Text
from worker.broker.refusals import StoreRefusalError, as_refusal

BaseParser: Any = _Parser  # without types
Pipeline: Any = _Pipeline


def parsed(text: str) -> Exception:
    """Return the error that redis-py makes of an answer."""
    error = BaseParser.parse_error(text)
    assert isinstance(error, Exception)
    return error


def in_pipeline(error: Exception) -> Exception:
    """Return the error as redis-py raises it out of a pipeline of ours."""
    words = (b"SET", b"key", b"READONLY")
    Pipeline.annotate_exception(None, error, 3, words)
    return error


def row_of(error: Exception) -> str | None:
    refusal = find_refusal(error)
    return None if refusal is None else refusal.name


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: f"{text.server}: {text.said[:60]}")
def test_text_is_known_by_its_row(text: Text) -> None:
    assert row_of(parsed(text.said)) == text.row
    assert row_of(in_pipeline(parsed(text.said))) == text.row
    assert row_of(ResponseError(text.said)) == text.row  # as kombu hands errors on
    assert is_unavailable(parsed(text.said))


@pytest.mark.parametrize("said", NO_REFUSALS)
def test_error_of_a_caller_is_no_refusal(said: str) -> None:
    assert row_of(parsed(said)) is None
    assert row_of(in_pipeline(parsed(said))) is None
    assert not is_unavailable(parsed(said))


def test_every_row_has_a_text_and_a_remedy() -> None:
    assert {text.row for text in TEXTS} == {row.name for row in REFUSALS}
    for row in REFUSALS:
        assert row.remedy.endswith("."), row.name
        re.compile(row.pattern)


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: f"{text.server}: {text.said[:60]}")
def test_message_shows_the_servers_words_and_what_to_do(text: Text) -> None:
    error = unavailable_error(parsed(text.said))

    assert isinstance(error, StoreRefusesError)
    assert str(error).startswith("The store refuses: ")
    assert error.remedy in str(error)
    assert SHA not in str(error)


def test_message_shows_no_arguments_of_a_command_that_is_not_known() -> None:
    text = (
        "ERR unknown command 'EVALSHA', with args beginning with: 'sha' '1' 'seen:session:secret' "
    )
    assert server_message(parsed(text)) == "unknown command 'EVALSHA'"


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: f"{text.server}: {text.said[:60]}")
def test_broker_raises_it_as_a_refusal(text: Text) -> None:
    error = parsed(text.said)
    told = as_refusal(error)

    if isinstance(error, ResponseError) and not isinstance(error, NoScriptError):
        assert isinstance(told, StoreRefusalError)
        assert row_of(told) == told.refusal.name == text.row
        assert row_of(in_pipeline(told)) == text.row
    else:  # a connection error already, or a script that is sent again with its text
        assert told is error


def test_broker_leaves_other_answers_as_they_are() -> None:
    wrong = parsed("WRONGTYPE Operation against a key holding the wrong kind of value")
    for reply in (b"READONLY", 1, None, wrong):
        assert as_refusal(reply) is reply
