"""What a caller sends as `traceparent` is read only if W3C Trace Context allows it."""

from __future__ import annotations

import pytest

from worker.tracing.traceparent import TraceParent, read_traceparent

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
VALID = f"00-{TRACE}-{SPAN}-01"

ACCEPTED = {
    "sampled": (VALID, True),
    "not sampled": (f"00-{TRACE}-{SPAN}-00", False),
    "unknown flags": (f"00-{TRACE}-{SPAN}-ff", True),
    "a later version": (f"cc-{TRACE}-{SPAN}-01", True),
    "a later version with more parts": (f"cc-{TRACE}-{SPAN}-01-what-follows", True),
}
REFUSED = {
    "nothing": "",
    "no version": f"{TRACE}-{SPAN}-01",
    "the invalid version": f"ff-{TRACE}-{SPAN}-01",
    "more parts in version 00": f"{VALID}-more",
    "a version that is too long": f"000-{TRACE}-{SPAN}-01",
    "capitals": VALID.upper(),
    "a trace of zeros": f"00-{'0' * 32}-{SPAN}-01",
    "a span of zeros": f"00-{TRACE}-{'0' * 16}-01",
    "a short trace": f"00-{TRACE[1:]}-{SPAN}-01",
    "a long trace": f"00-{TRACE}0-{SPAN}-01",
    "a short span": f"00-{TRACE}-{SPAN[1:]}-01",
    "no flags": f"00-{TRACE}-{SPAN}",
    "no hexadecimal flags": f"00-{TRACE}-{SPAN}-0g",
    "digits of another script": f"00-{TRACE[:-1]}٣-{SPAN}-01",
    "spaces around": f" {VALID} ",
    "a line break": f"{VALID}\n",
    "a second header": f"{VALID}, {VALID}",
    "other separators": VALID.replace("-", "_"),
    "an escape sequence": f"\x1b[2J{VALID}",
    "NUL": f"{VALID}\x00",
    "a megabyte": f"cc-{TRACE}-{SPAN}-01-" + "x" * 2**20,
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_valid_header_is_read(name: str) -> None:
    text, is_sampled = ACCEPTED[name]
    assert read_traceparent(text) == TraceParent(int(TRACE, 16), int(SPAN, 16), is_sampled)


@pytest.mark.parametrize("name", REFUSED)
def test_other_header_is_ignored(name: str) -> None:
    assert read_traceparent(REFUSED[name]) is None


def test_header_is_written_as_it_was_read() -> None:
    assert str(read_traceparent(VALID)) == VALID
