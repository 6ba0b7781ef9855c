"""One spelling for a host, so that its limit is found whoever writes it."""

from __future__ import annotations

import pytest

from domain.errors import InvalidInputError
from domain.job import JobFilter
from domain.limits import check_host, host_scope, plain_host


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("Example.ORG.", "example.org"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("192.0.2.7", "192.0.2.7"),
        ("[2001:DB8:0::1]", "2001:db8::1"),
        ("2001:db8:0:0::1", "2001:db8::1"),
        ("my_host", "my_host"),
        ("ex%61mple.org", "example.org"),
        ("0x7f.1", "127.0.0.1"),
        ("straße.invalid", "xn--strae-oqa.invalid"),
    ],
)
def test_a_host_has_one_spelling(text: str, host: str) -> None:
    assert plain_host(text) == check_host(text) == host
    assert host_scope(text) == f"host:{host}"
    assert JobFilter(host=text).host == host


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "[]",
        "a b",
        "-a.org",
        "http://example.org",
        "example.org:80",
        "abc.de:80",
        "a" * 300,
    ],
)
def test_what_is_no_host_is_refused_where_a_person_writes_it(text: str) -> None:
    with pytest.raises(InvalidInputError, match="without scheme, port or path"):
        check_host(text)


def test_what_is_no_host_comes_back_where_a_program_asks() -> None:
    """A row of an earlier version may have one; its job says what is wrong when it connects."""
    assert plain_host("A..B") == "a..b"
