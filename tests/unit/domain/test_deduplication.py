"""Single flight: which spellings of a URL are one, and which requests ask for the very same."""

from __future__ import annotations

from typing import Any

import pytest

from domain.dedup import request_fingerprint, scoped_key
from domain.errors import InvalidInputError
from domain.job import Priority
from domain.request import DownloadRequest
from domain.urls import canonical_url

URL = "https://example.com/films/a.mkv?b=2&a=1"


@pytest.mark.parametrize(
    ("url", "canonical"),
    [
        ("HTTPS://EXAMPLE.COM:443/A", "https://example.com/A"),
        ("http://example.com:80", "http://example.com/"),
        ("http://example.com:8080/", "http://example.com:8080/"),
        ("https://example.com:80/", "https://example.com:80/"),
        ("http://example.com./x", "http://example.com/x"),
        ("http://[2001:DB8::1]:80/x", "http://[2001:db8::1]/x"),
        ("http://[fe80::1%25eth0]/x", "http://[fe80::1%25eth0]/x"),
        ("http://ex%61mple.com/x", "http://example.com/x"),
        ("http://0x7f.1/x", "http://127.0.0.1/x"),
        ("http://example.com//x?", "http://example.com//x"),
        ("http://example.com/a/./b/../c", "http://example.com/a/c"),
        ("http://example.com/../../a", "http://example.com/a"),
        ("http://example.com/a/..", "http://example.com/"),
        ("http://example.com/a/.", "http://example.com/a/"),
        ("http://example.com/a//b", "http://example.com/a//b"),
        ("http://example.com/%7Euser/%c3%bc%2f", "http://example.com/~user/%C3%BC%2F"),
        ("http://example.com/%2e%2E/x", "http://example.com/x"),
        ("http://example.com/x?b=%61&a=1", "http://example.com/x?b=a&a=1"),
        ("http://example.com/x#part", "http://example.com/x"),
        ("ftp://example.com:21/x;type=i", "ftp://example.com/x;type=i"),
    ],
)
def test_a_url_has_one_canonical_form(url: str, canonical: str) -> None:
    assert canonical_url(url) == canonical
    assert canonical_url(canonical) == canonical


def fingerprint(secrets: str | None = None, **fields: Any) -> str:
    return request_fingerprint(DownloadRequest.model_validate({"url": URL, **fields}), secrets)


@pytest.mark.parametrize(
    "fields",
    [
        {"url": "HTTPS://Example.com:443/films/./a.mkv?b=2&a=1#here"},
        {"url": "https://ex%61mple.com./films/a.mkv?b=2&a=1"},
        {"directory": "."},
        {"connections": 8},
        {"max_attempts": 2},
        {"priority": Priority.HIGH},
        {"mirrors": ("https://mirror.example/a.mkv",)},
        {"idempotency_key": "k"},
        {"max_rate": 100_000},
    ],
)
def test_how_it_is_fetched_makes_no_difference(fields: dict[str, Any]) -> None:
    assert fingerprint(**fields) == fingerprint()


@pytest.mark.parametrize(
    "fields",
    [
        {"url": "https://example.com/films/a.mkv?a=1&b=2"},
        {"url": "https://example.com/films/A.mkv?b=2&a=1"},
        {"user_id": "ada"},
        {"directory": "other"},
        {"name": "b.mkv"},
        {"overwrite": True},
        {"checksum": "md5:" + "0" * 32},
        {"max_bytes": 5},
        {"decode": True},
        {"ignore_origin_digests": True},
        {"secrets": "mark"},
    ],
)
def test_what_is_asked_for_does(fields: dict[str, Any]) -> None:
    assert fingerprint(**fields) != fingerprint()


def test_a_key_belongs_to_its_user() -> None:
    keys = {
        scoped_key(DownloadRequest(url=URL, idempotency_key=key, user_id=user))
        for key in ("1", "2")
        for user in (None, "ada", "bob")
    }
    assert len(keys) == 6
    assert scoped_key(DownloadRequest(url=URL)) is None


@pytest.mark.parametrize("key", ["", "x" * 201, "a\nb", "a\0b"])
def test_a_key_that_is_none_is_refused(key: str) -> None:
    with pytest.raises(InvalidInputError, match="idempotency_key"):
        DownloadRequest(url=URL, idempotency_key=key)
