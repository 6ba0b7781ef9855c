"""Server-sent events are parsed as the specification says, however the bytes are cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seen_client.errors import UnexpectedAnswerError
from seen_client.sse import EventParser

#: Bytes, the events in them as kind and data, and the last id.
CASES: list[tuple[bytes, list[tuple[str, str]], str]] = [
    (b"data: a\n\n", [("message", "a")], ""),
    (b"\xef\xbb\xbfdata: a\n\n", [("message", "a")], ""),
    (b"event: x\nid: 5\ndata: a\n\n", [("x", "a")], "5"),
    (b"event: x\r\nid: 5\r\ndata: a\r\n\r\n", [("x", "a")], "5"),
    (b"event: x\rid: 5\rdata: a\r\r:\n", [("x", "a")], "5"),
    (b"data: a\ndata:b\ndata:  c\n\n", [("message", "a\nb\n c")], ""),
    (b": comment\n\ndata\n\n", [("message", "")], ""),
    (b"event: x\n\ndata: a\n\n", [("message", "a")], ""),
    (b"id: 1\n\ndata: a\n\nid: 2\ndata: b\n\n", [("message", "a"), ("message", "b")], "2"),
    (b"id: 1\ndata: a\n\nid: 2\ndata: cut off", [("message", "a")], "1"),
    (b"id: a\x00b\ndata: a\n\nid: \xc3\xa4\ndata: b\n\n", [("message", "a"), ("message", "b")], ""),
    (b"id: 1\nid\ndata: a\n\n", [("message", "a")], ""),
    (b"retry: 5\nunknown: x\ndata: \xc3\xa4\n\n", [("message", "ä")], ""),
    (b'data: {"a":1}\n\n\n\ndata: b\n\n', [("message", '{"a":1}'), ("message", "b")], ""),
]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_events(case: tuple[bytes, list[tuple[str, str]], str], size: int) -> None:
    stream, expected, last_id = case
    parser = EventParser(1000)
    chunks = [stream[at : at + size] for at in range(0, len(stream), size)]
    found = [(one.kind, one.data) for chunk in chunks for one in parser.feed(chunk)]
    assert (found, parser.last_id) == (expected, last_id)


@given(st.lists(st.binary(max_size=40), max_size=10))
def test_any_bytes_are_borne(chunks: list[bytes]) -> None:
    parser = EventParser(100)
    try:
        for chunk in chunks:
            list(parser.feed(chunk))
    except UnexpectedAnswerError:
        return
    again = EventParser(100)
    list(again.feed(b"".join(chunks)))
    assert again.last_id == parser.last_id


def test_the_last_id_stays_until_there_is_another() -> None:
    parser = EventParser(100, "a-1")
    list(parser.feed(b"data: a\n\n"))
    assert parser.last_id == "a-1"


@pytest.mark.parametrize("size", [99, 100])
def test_an_event_of_the_limit_is_accepted(size: int) -> None:
    line = b"data:" + b"x" * (size - 5)
    for stream in (line + b"\n\n", b":" + line[1:]):
        parser = EventParser(100)
        list(parser.feed(stream))
    parser = EventParser(size - 1)
    with pytest.raises(UnexpectedAnswerError, match="more than"):
        list(parser.feed(line + b"\n\n"))
