"""Whatever an origin writes into its headers, reading them raises nothing."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from worker.transfer.http.error_mapping import parse_retry_after
from worker.transfer.http.response import Response
from worker.transfer.integrity.digest_headers import origin_digests

NAMES = st.sampled_from(
    [
        *(
            "content-length",
            "content-range",
            "content-encoding",
            "transfer-encoding",
            "etag",
            "date",
        ),
        *("last-modified", "repr-digest", "digest", "content-md5", "x-goog-hash", "retry-after"),
    ]
)
PIECES = st.sampled_from(
    [
        *(
            "Mon, 30 Feb 2026 10:00:00 GMT",
            "Sun Nov  6 08:49:37 1994",
            "99999999999999999999",
            "+-0500",
        ),
        *(
            "bytes ",
            "0-1/2",
            "*/",
            "*",
            "W/",
            '"x"',
            "sha-256=",
            "md5=",
            ":AAAA:",
            "====",
            "Z",
            "GMT",
        ),
        *(",", ";", " ", "-", "1", "\xe9", "\x00", "nan", "1e999", "\u00b2"),
    ]
)
values = st.one_of(
    st.text(st.characters(max_codepoint=0xFF), max_size=60),
    st.lists(PIECES, max_size=8).map("".join),
)


@given(st.lists(st.tuples(NAMES, values), max_size=8))
@example([("date", "0"), ("last-modified", "0")])
@example([("date", "1 Jan 0 0:0 -9999"), ("last-modified", "1 Jan 9999 24:00 +9999")])
def test_no_header_breaks_what_reads_it(fields: list[tuple[str, str]]) -> None:
    answer = Response()
    for line in (b"HTTP/1.1 206 x\r\n", *(f"{n}: {v}\r\n".encode("latin-1") for n, v in fields)):
        answer.feed(line)
    for name in dir(Response):
        if not name.startswith("_"):
            getattr(answer, name)
    origin_digests(answer.headers)
    parse_retry_after(answer.headers.get("retry-after"))


@given(st.sampled_from(["é", "à", "Å", "…"]))
def test_a_value_that_ends_in_utf_8_keeps_its_last_octet(end: str) -> None:
    """0x85 and 0xA0 are spaces to Unicode, and the last octet of many letters."""
    answer = Response()
    answer.feed(f"Location:  /voil{end} \t\r\n".encode())
    assert answer.headers["location"].encode("latin-1") == f"/voil{end}".encode()
