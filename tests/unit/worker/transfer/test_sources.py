"""The sources of a file: which headers each gets, which redirects are followed, which is next."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import pytest

from domain.errors import PermanentError
from worker.transfer.interfaces import TransferSpec
from worker.transfer.sources import Source, Sources

URL = "https://files.example/a/film.mkv?key=1"
CHECKSUM = "md5:" + "0" * 32


def sources(*urls: str, resumed_from: str | None = None, **order: Any) -> Sources:
    return Sources(TransferSpec(urls=urls or (URL,), **order), resumed_from)


# ── what is sent along ──────────────────────────────────────────────────────────────────────────

SECRETS: dict[str, Any] = {
    "headers": MappingProxyType({"X-Key": "k", "X-Empty": ""}),
    "cookies": "session=s",
    "username": "me",
    "password": "p",
}


@pytest.mark.parametrize(
    "url",
    [
        URL,
        "https://files.example/?another",
        "https://FILES.EXAMPLE:443/other?x",
        "HTTPS://files.example/b",
    ],
)
def test_secrets_go_to_the_origin_they_were_given_for(url: str) -> None:
    given = sources(**SECRETS)
    assert given.headers_for(url) == ["X-Key: k", "X-Empty;"]
    assert given.cookies_for(url) == "session=s"
    assert given.login_for(url) == ("me", "p")


@pytest.mark.parametrize(
    "url",
    [
        "http://files.example/a/film.mkv",
        "http://files.example:443/a/film.mkv",
        "https://files.example:8443/",
        "https://cdn.files.example/",
        "https://example/",
        "https://files.example.evil.example/",
        "https://files.example./",
        "ftp://files.example/a",
    ],
)
def test_secrets_go_nowhere_else(url: str) -> None:
    given = sources(URL, url, **SECRETS)  # not even to a mirror
    assert list(given.headers_for(url)) == []
    assert given.login_for(url) == (None, None)


def test_a_mirror_that_the_bytes_are_from_is_still_no_origin_of_the_secrets() -> None:
    mirror = Source("https://mirror.example/a")
    given = sources(URL, mirror.url, resumed_from=mirror.digest, **SECRETS)
    assert given.first.url == mirror.url
    assert list(given.headers_for(mirror.url)) == []
    assert list(given.headers_for(URL)) != []


def test_other_cookies_go_to_other_origins() -> None:
    given = sources(**SECRETS, other_cookies=lambda url: f"for={url}")
    assert given.cookies_for(URL) == "session=s"
    for url in ("https://cdn.example/a", "http://files.example/a"):
        assert given.cookies_for(url) == f"for={url}"


def test_nothing_is_sent_where_nothing_was_given() -> None:
    assert list(sources().headers_for(URL)) == []
    assert sources().login_for(URL) == (None, None)


# ── redirects ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("/b", "https://files.example/b"),
        ("b", "https://files.example/a/b"),
        ("../b?c=d", "https://files.example/b?c=d"),
        ("?key=2", "https://files.example/a/film.mkv?key=2"),
        ("", "https://files.example/a/film.mkv?key=1"),
        ("//cdn.example/b", "https://cdn.example/b"),
        ("https://cdn.example:8443/b#part", "https://cdn.example:8443/b#part"),
        ("HTTPS://cdn.example/b", "https://cdn.example/b"),
        ("https://[2001:db8::1]/b", "https://[2001:db8::1]/b"),
        # sent raw, as some servers do; headers arrive as Latin-1
        ("/two words", "https://files.example/two%20words"),
        ("/grün".encode().decode("latin-1"), "https://files.example/gr%C3%BCn"),
        (
            "https://bücher.example/ü".encode().decode("latin-1"),
            "https://xn--bcher-kva.example/%C3%BC",
        ),
        ("/already%20encoded%C3%BC", "https://files.example/already%20encoded%C3%BC"),
        ("/gr\xfcn", "https://files.example/gr%FCn"),  # octets of no UTF-8 stay as they are
        ("/a\x85\xa0", "https://files.example/a%85%A0"),
        ("\\b\\c?d\\e", "https://files.example/b/c?d\\e"),
        ("\\\\cdn.example/b", "https://cdn.example/b"),
        ("/\\cdn.example/b", "https://cdn.example/b"),
        ("/a\tb ", "https://files.example/ab"),
        ("/a?b c#d e", "https://files.example/a?b%20c#d%20e"),
        ("#part", "https://files.example/a/film.mkv?key=1#part"),
        (".", "https://files.example/a/"),
        ("../../../b", "https://files.example/b"),
        ("https:b", "https://files.example/a/b"),
        ("https://[2001:DB8:0::1]:8443/b", "https://[2001:db8::1]:8443/b"),
        (
            "https://[2001:db8::1]:8443/é".encode().decode("latin-1"),
            "https://[2001:db8::1]:8443/%C3%A9",
        ),
        (
            "https://straße.invalid".encode().decode("latin-1"),
            "https://xn--strae-oqa.invalid",
        ),
        ("https://CDN.example./b", "https://cdn.example/b"),
    ],
)
def test_a_redirect_is_read_as_browsers_do(location: str, target: str) -> None:
    assert sources().resolve_redirect(URL, location) == target


@pytest.mark.parametrize(
    "location",
    [
        "file:///etc/passwd",
        "FILE:///etc/passwd",
        "ftp://files.example/a",
        "ftps://files.example/a",
        "gopher://127.0.0.1:6379/_FLUSHALL",
        "dict://127.0.0.1/",
        "data:text/plain,a",
        "javascript:alert(1)",
        "mailto:a@b.example",
        "https://user@files.example/a",
        "https://user:hunter2@files.example/a",
        "https://files.example\\@evil.example/a",
        "https://@files.example/a",
        "https://files.example:99999/a",
        "https://files.example:http/a",
        "https://[::1/a",
        "https://[\xc3\xa9]/a",
        "https://b\xfccher.example/a",
        "https://files.example\\evil.example/a",
        "\\\\files.example\\evil.example/a",
        "https://127.0.0.256/a",
        "https://a..b/a",
        "https://a%20b/a",
        "https:///a\x01",
        "/a\x00b",
        "/" + "a" * 8001,
    ],
)
def test_a_redirect_to_an_unsafe_target_is_refused(location: str) -> None:
    with pytest.raises(PermanentError, match="redirect is not followed") as caught:
        sources(checksum=CHECKSUM).resolve_redirect(URL, location)
    assert caught.value.code == "unsafe_redirect"
    assert "hunter2" not in str(caught.value)


def test_https_does_not_become_http_without_a_checksum() -> None:
    with pytest.raises(PermanentError, match="not encrypted") as caught:
        sources().resolve_redirect(URL, "http://files.example/a?token=hunter2")
    assert caught.value.code == "unsafe_redirect"
    assert "http://files.example/a?token=… " in str(caught.value)
    target = sources(checksum=CHECKSUM).resolve_redirect(URL, "http://files.example/a")
    assert target == "http://files.example/a"


@pytest.mark.parametrize(
    "location", ["http://files.example/hunter2?hunter2", "ftp://hunter2/", "/hunter2\x00"]
)
def test_a_redirect_of_a_secret_url_is_refused_without_its_path(location: str) -> None:
    with pytest.raises(PermanentError, match="redirect is not followed") as caught:
        sources(secret_url=True).resolve_redirect(URL, location)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("location", ["http://b.example/", "https://b.example/"])
def test_what_was_not_encrypted_may_go_anywhere(location: str) -> None:
    assert sources().resolve_redirect("http://a.example/", location) == location


# ── mirrors ─────────────────────────────────────────────────────────────────────────────────────

THREE = ("http://a.example/x", "http://b.example/x", "http://c.example/x")


def test_the_one_with_the_fewest_requests_is_asked_the_first_one_before_others() -> None:
    found = sources(*THREE)
    asked = []
    for _ in range(6):
        source = found.least_busy()
        source.active_requests += 1
        asked.append(source.url[7])
    assert asked == ["a", "b", "c", "a", "b", "c"]


def test_the_one_that_the_bytes_are_from_is_the_first_one() -> None:
    digest = Source(THREE[1]).digest
    assert sources(*THREE, resumed_from=digest).first.url == THREE[1]
    assert sources(*THREE, resumed_from=digest).least_busy().url == THREE[1]
    assert sources(*THREE, resumed_from="0" * 64).first.url == THREE[0]
    assert sources(*THREE, resumed_from=None).first.url == THREE[0]


def test_who_is_dropped_is_asked_no_more_and_the_last_one_stays() -> None:
    found = sources(*THREE)
    first = found.first
    assert found.has_others(first)
    assert found.remove(first)
    assert not found.remove(first), "once is enough"
    assert found.has_others(first), "others can be asked, although it was dropped before"
    assert found.first.url == THREE[1]
    assert found.remove(found.first)
    last = found.first
    assert (last.url, found.least_busy()) == (THREE[2], last)
    assert not found.has_others(last)
    assert not found.remove(last)
    assert found.least_busy() is last


def test_a_checkpoint_does_not_contain_the_url() -> None:
    """A URL may be a secret: it may be signed."""
    one, other = Source(URL), Source(URL + "2")
    assert one.digest != other.digest
    assert len(one.digest) == 64
    one.current_url = "https://cdn.example/elsewhere"
    assert one.digest == Source(URL).digest
