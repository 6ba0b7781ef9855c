"""Whatever text a URL is written in: it is refused in our words, or has one form that stays."""

from __future__ import annotations

from contextlib import suppress
from urllib.parse import urlsplit

from hypothesis import example, given
from hypothesis import strategies as st

from domain.errors import InvalidInputError, PermanentError
from domain.hosts import host_in_url
from domain.urls import (
    canonical_url,
    check_url,
    display_url,
    distinguishing_query,
    host_of,
    mask_urls,
)
from worker.transfer.interfaces import TransferSpec
from worker.transfer.sources import Sources

PIECES = st.sampled_from(
    [
        *(
            "http://",
            "https://",
            "ftp://",
            "HTTP:",
            "//",
            "/",
            "\\",
            "?",
            "#",
            "@",
            ":",
            ":80",
            ":0",
        ),
        *(
            "[::1]",
            "[",
            "]",
            "[fe80::1%25eth0]",
            "127.1",
            "0x7f",
            "example.org",
            "ex%61mple",
            ".",
            "..",
        ),
        *(
            "é",
            "ß",
            "❤",
            "。",
            "\u202e",
            "\ud800",
            "%2F",
            "%",
            "%zz",
            "%00",
            " ",
            "\t",
            "\n",
            "\0",
            ";a=b",
        ),
    ]
)
texts = st.one_of(
    st.text(max_size=100),
    st.lists(PIECES, max_size=20).map("".join),
    st.lists(PIECES, max_size=20).map(lambda pieces: "http://" + "".join(pieces)),
)


def assert_settled(url: str) -> None:
    """The URL is what it will stay, and other parsers read the same host and port from it."""
    assert url.isascii()
    assert check_url(url) == url
    assert canonical_url(canonical_url(url)) == canonical_url(url)
    host = host_of(url)
    assert host is not None
    assert host_of(canonical_url(url)) == host
    parts = urlsplit(url)
    assert parts.username is None
    assert parts.netloc in {host_in_url(host), f"{host_in_url(host)}:{parts.port}"}


@given(texts)
@example("http://[::1]/é")
@example("http://\u2100.org/")
@example("http://[::1]é/")
def test_a_url_is_refused_in_our_words_or_settled(text: str) -> None:
    host_of(text)
    distinguishing_query(text)
    mask_urls(text)
    for whole in (False, True):
        shown = display_url(text, whole=whole)
        assert display_url(shown, whole=whole) == shown
    with suppress(InvalidInputError):
        assert_settled(check_url(text))


octets = st.one_of(
    st.text(st.characters(max_codepoint=0xFF), max_size=100),
    st.lists(PIECES, max_size=20).map(
        lambda pieces: "".join(pieces).encode(errors="replace").decode("latin-1")
    ),
)
BASES = st.sampled_from(
    ["http://[::1]:8080/a/b?c#d", "http://example.org", "http://127.0.0.1/a//b"]
)


@given(BASES, octets)
def test_a_redirect_leads_nowhere_or_to_a_settled_url(base: str, location: str) -> None:
    with suppress(PermanentError):
        assert_settled(Sources(TransferSpec(urls=(base,)), None).resolve_redirect(base, location))
