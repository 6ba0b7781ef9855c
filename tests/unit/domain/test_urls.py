"""URLs: which are accepted, and how one is shown without its secrets."""

from __future__ import annotations

import pytest

from domain.errors import InvalidInputError
from domain.request import DownloadRequest
from domain.urls import check_url, host_of


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com",
        "https://example.com/film.mkv",
        "HTTPS://example.com:8443/a%20b?x=1#y",
        "http://[2606:2800:220:1::]:8080/x",
        "http://[fe80::1%25eth0]/x",
        "http://example.com?",
        "http://example.com/?#",
        "http://example.com//a//b/../c;d=e?f=/g?h#i?j",
        "http://example.com/%zz%2F%e9",
        "http://192.0.2.1/",
        "ftp://example.com/films/film.mkv",
        "FTPS://example.com:2121/a%20b;type=i",
        "http://" + "x" * 253 + "/",
        "http://example.com/@user/x@y",
        "http://example.com/" + "x" * 7981,
    ],
)
def test_a_usable_url_is_returned_unchanged(url: str) -> None:
    assert check_url(url) == url


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "begin with http"),
        ("example.com/film.mkv", "begin with http"),
        ("gopher://example.com/x", "begin with http://, https://, ftp:// or ftps://"),
        ("http://" + "x" * 254 + "/", "253"),
        ("ftp://user@example.com/x", "--user"),
        ("ftp://example.com/a%0D%0ADELE%20b", "control characters"),
        ("ftp://example.com/x;type=A", "type"),
        ("ftp://example.com/folder/", "a file"),
        ("ftps://example.com", "a file"),
        ("file:///etc/passwd", "begin with http"),
        ("javascript:alert(1)", "begin with http"),
        ("http:///x", "no host"),
        ("http://", "no host"),
        ("http://:80/", "no host"),
        ("http://user@example.com/", "passwords"),
        ("http://user:pw@example.com/", "passwords"),
        ("http://:@example.com/", "passwords"),
        ("http://example.com:99999/", "parsed"),
        ("http://example.com:port/", "parsed"),
        ("http://[::1/", "parsed"),
        ("http://::1/", "brackets"),
        ("http://[::1]x/", "parsed"),
        ("http://[::1]:80:80/", "parsed"),
        ("http://example.com:0/", "from 1 to 65535"),
        ("http://example.com:-1/", "parsed"),
        ("http://example.com:８０/", "parsed"),
        ("http://a%20b/", "no ' '"),
        ("http://a\\b/", "A host name has no"),
        ("http://a%40b/", "no '@'"),
        ("http://%FF/", "UTF-8"),
        ("http://127.0.0.256/", "IPv4"),
        ("http://a..b/", "two in a row"),
        ("http:/example.com/", "begin with http"),
        ("http:\\\\example.com\\a", "begin with http"),
        ("http://example.com/" + "ü" * 2000, "8000"),
        ("http://example.com/a b", "percent-encoded"),
        ("http://example.com/a\nb", "percent-encoded"),
        ("http://example.com/\x7f", "percent-encoded"),
        (" http://example.com/", "percent-encoded"),
        ("http://example.com/" + "x" * 7982, "8000"),
        ("http://example.com/" + "ü" * 4000, "8000"),
        ("http://example.com/\ud800", "Unicode"),
    ],
)
def test_an_unusable_url_is_refused_with_a_remedy(url: str, says: str) -> None:
    with pytest.raises(InvalidInputError, match=says) as caught:
        check_url(url)
    assert caught.value.field == "url"


@pytest.mark.parametrize(
    ("url", "meant"),
    [
        ("example.org/x", "https://example.org/x"),
        ("example.org", "https://example.org"),
        ("www.Example.org?n=1", "https://www.example.org?n=1"),
        ("//example.org/x", "https://example.org/x"),
        ("bücher.example/x", "https://xn--bcher-kva.example/x"),
        ("example.xn--p1ai/x", "https://example.xn--p1ai/x"),
        ("example.org:443/x", "https://example.org:443/x"),
        ("example.org:8080/x", "http://example.org:8080/x"),
        ("localhost/x", "http://localhost/x"),
        ("localhost:8000", "http://localhost:8000"),
        ("127.0.0.1:8000/x", "http://127.0.0.1:8000/x"),
        ("[::1]:8000/x", "http://[::1]:8000/x"),
        ("example.org/x?token=hunter2", "https://example.org/x?token=…"),
        ("example.org/https://b.org/x", "https://example.org/https://b.org/x"),
        # No host stands there, or more than the scheme is wrong.
        *((text, None) for text in ("/etc/x.org", "../x.org", "./example.org", "film", "v1.2/x")),
        *((text, None) for text in ("", "-o", "a.7z", "file:///x.org", "javascript:alert(1)")),
        *((text, None) for text in ("mailto:a@example.org", "user:hunter2@example.org/x")),
        *((text, None) for text in ("hppt://example.org", "http:/example.org", "http:example.org")),
        *((text, None) for text in ("example.org:99999/x", "999.0.0.1/x", "[::g]/x", "[1:2]/x")),
    ],
)
def test_a_url_without_scheme_is_refused_with_the_one_that_was_meant(
    url: str, meant: str | None
) -> None:
    with pytest.raises(InvalidInputError, match="begin with http") as caught:
        check_url(url)
    _, question, suggestion = str(caught.value).partition(" Did you mean ")
    assert (suggestion if question else None) == (None if meant is None else f"{meant}?")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://user:hunter2@example.com/",
        "http://user:hunter2@example.com:99999/",
        "http://user:hunter2@example.com/a b",
        "http://user:hunter2@[::1/",
        "ftp://user:hunter2@example.com/",
        "user:hunter2@example.com/film",
        "http://example.com:99999/?token=hunter2",
        "http://example.com/a b?token=hunter2",
        "gopher://example.com/?token=hunter2",
        "ftp://example.com/?token=hunter2",
        "ftp://example.com/#hunter2",
        "http://user:hunter2@example.com/" + "x" * 9000,
    ],
)
def test_no_refusal_shows_a_secret(url: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        check_url(url)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("http://host/café.bin", "http://host/caf%C3%A9.bin"),
        ("http://bücher.example:81/a?q=ü#ß", "http://xn--bcher-kva.example:81/a?q=%C3%BC#%C3%9F"),
        ("https://host/a%20b/é%2Fc", "https://host/a%20b/%C3%A9%2Fc"),
        ("http://[::1]:8080/é.bin", "http://[::1]:8080/%C3%A9.bin"),
        ("http://[fe80::1%25eth0]/é", "http://[fe80::1%25eth0]/%C3%A9"),
        ("http://straße.invalid/", "http://xn--strae-oqa.invalid/"),
        ("http://i❤.ws/", "http://xn--i-7iq.ws/"),
    ],
)
def test_what_is_not_ascii_is_encoded(url: str, sent: str) -> None:
    assert check_url(url) == sent


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("https://EXAMPLE.com./A", "https://example.com/A"),
        ("https://ex%61mple.com/%41", "https://example.com/%41"),
        ("http://%31%36%39.254.169.254/", "http://169.254.169.254/"),
        ("http://0x7f.1:0080/", "http://127.0.0.1:80/"),
        ("http://2130706433?a", "http://127.0.0.1?a"),
        ("http://[::FFFF:7f00:1]#a", "http://127.0.0.1#a"),
        ("http://[2001:DB8:0::1]:/", "http://[2001:db8::1]/"),
    ],
)
def test_a_host_is_asked_for_and_shown_in_its_one_spelling(url: str, sent: str) -> None:
    assert check_url(url) == check_url(sent) == sent
    assert DownloadRequest(url=url).url == sent


def test_a_host_that_has_no_idna_form_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="IDNA"):
        check_url("http://" + "ü" * 70 + ".example/")


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://Example.COM/x", "example.com"),
        ("http://example.com.:80/x", "example.com"),
        ("https://example.com:443/", "example.com"),
        ("https://example.com:80/", "example.com"),
        ("ftp://example.com:21/x", "example.com"),
        ("ftps://example.com:21/x", "example.com"),
        ("http://[2001:DB8::1]:8080/", "2001:db8::1"),
        ("http://[::1]/", "::1"),
        ("http://[::ffff:127.1.2.3]/", "127.1.2.3"),
        ("http://[fe80::1%25eth0]/", "fe80::1%eth0"),
        ("http://ex%61mple.com/", "example.com"),
        ("http://127.1/", "127.0.0.1"),
        ("http://straße.invalid/é", "xn--strae-oqa.invalid"),
        ("http://a..b/", None),
        ("/x", None),
        ("http://example.com:99999/", "example.com"),
        ("http://[::1", None),
        ("http:///x", None),
    ],
)
def test_the_host_that_a_url_speaks_to(url: str, host: str | None) -> None:
    assert host_of(url) == host
