"""Cookies from files: the formats, which cookies go to which URL, and which line is wrong."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from cli.arguments.cookie_file import read_cookies
from cli.arguments.download_options import DownloadOptions
from cli.arguments.url_list import Entry
from domain.errors import InvalidInputError
from domain.request import DownloadRequest

NEVER, PAST = "4102444800", "1"


def netscape(*fields: str) -> str:
    return "\t".join(fields)


def value(tmp_path: Path, text: str, url: str = "https://www.example.org/films/a") -> str | None:
    path = tmp_path / "cookies.txt"
    path.write_text(text)
    return read_cookies(str(path)).value_for(url)


@pytest.mark.parametrize(
    ("line", "sent"),
    [
        # domains
        (netscape("www.example.org", "FALSE", "/", "FALSE", "0", "a", "b"), "a=b"),
        (netscape("WWW.Example.org.", "FALSE", "/", "FALSE", "0", "a", "b"), "a=b"),
        (netscape(".example.org", "TRUE", "/", "FALSE", "0", "a", "b"), "a=b"),
        (netscape("example.org", "TRUE", "/", "FALSE", "0", "a", "b"), "a=b"),
        (netscape("example.org", "FALSE", "/", "FALSE", "0", "a", "b"), None),
        (netscape("ample.org", "TRUE", "/", "FALSE", "0", "a", "b"), None),
        (netscape("films.www.example.org", "TRUE", "/", "FALSE", "0", "a", "b"), None),
        (netscape(".org", "TRUE", "/", "FALSE", "0", "a", "b"), None),
        (netscape("1.2.3.4", "TRUE", "/", "FALSE", "0", "a", "b"), None),
        ("#HttpOnly_" + netscape(".example.org", "TRUE", "/", "TRUE", "0", "a", "b"), "a=b"),
        # paths
        (netscape("www.example.org", "FALSE", "/films", "FALSE", "0", "a", "b"), "a=b"),
        (netscape("www.example.org", "FALSE", "/films/", "FALSE", "0", "a", "b"), "a=b"),
        (netscape("www.example.org", "FALSE", "/films/a", "FALSE", "0", "a", "b"), "a=b"),
        (netscape("www.example.org", "FALSE", "/film", "FALSE", "0", "a", "b"), None),
        (netscape("www.example.org", "FALSE", "/films/a/b", "FALSE", "0", "a", "b"), None),
        # expiry
        (netscape("www.example.org", "FALSE", "/", "FALSE", NEVER, "a", "b"), "a=b"),
        (netscape("www.example.org", "FALSE", "/", "FALSE", f"{NEVER}.5", "a", "b"), "a=b"),
        (netscape("www.example.org", "FALSE", "/", "FALSE", "", "a", "b"), "a=b"),
        (netscape("www.example.org", "FALSE", "/", "FALSE", "-1", "a", "b"), "a=b"),
        (netscape("www.example.org", "FALSE", "/", "FALSE", PAST, "a", "b"), None),
        # values
        (netscape("www.example.org", "FALSE", "/", "FALSE", "0", "a", ""), "a="),
        (netscape("www.example.org", "FALSE", "/", "FALSE", "0", "a"), "a="),
        (netscape("www.example.org", "FALSE", "/", "FALSE", "0", "a", 'b=c"d, e'), 'a=b=c"d, e'),
        # as typed, and headers
        ("a=b; c=d", "a=b; c=d"),
        ("Cookie: a=b; c=d", "a=b; c=d"),
        ("a[0]/b@c:d=e; consent", "a[0]/b@c:d=e; consent"),
        ("cookie:a=b", "a=b"),
        ("Set-Cookie: a=b; Path=/; HttpOnly; SameSite=Lax", "a=b"),
        ("set-cookie: a=b; Domain=example.org; Secure", "a=b"),
        ("Set-Cookie: a=b; Domain=other.org", None),
        ("Set-Cookie: a=b; Path=/other", None),
        ("Set-Cookie: a=b; Max-Age=0", None),
        ("Set-Cookie: a=b; Expires=Thu, 01 Jan 1970 00:00:00 GMT", None),
        ("Set-Cookie: a=b; Expires=Thu, 01-Jan-2098 00:00:00 GMT", "a=b"),
        ("Set-Cookie: a=b; Expires=some day", "a=b"),
    ],
)
@pytest.mark.parametrize(
    "around", ["{}", "# Netscape HTTP Cookie File\r\n\r\n{}\r\n", "\ufeff{}\n"]
)
def test_line_of_each_format(tmp_path: Path, line: str, sent: str | None, around: str) -> None:
    assert value(tmp_path, around.format(line)) == sent


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (netscape("www.example.org", "FALSE", "/", "FALSE", "0"), "Line 2: it has 5 fields"),
        (netscape("a", "FALSE", "/", "FALSE", "0", "n", "hunter2", "x"), "Line 2: it has 8 fields"),
        (netscape("a", "yes", "/", "FALSE", "0", "n", "hunter2"), "TRUE or FALSE"),
        (netscape("a", "TRUE", "/", "1", "0", "n", "hunter2"), "TRUE or FALSE"),
        (netscape("a", "TRUE", "/", "TRUE", "soon", "n", "hunter2"), "not a number of seconds"),
        (netscape("a", "TRUE", "/", "TRUE", "0", "", "hunter2"), "the name, is empty"),
        (netscape("a b", "TRUE", "/", "TRUE", "0", "n", "hunter2"), "not a host name"),
        (netscape("", "TRUE", "/", "TRUE", "0", "n", "hunter2"), "not a host name"),
        (netscape("a", "TRUE", "/", "TRUE", "0", "n", "hunter2").replace("\t", "  "), "by spaces"),
        ("hunter2", "Line 2: no cookie; write seven fields"),
        ("hunter2; a=b", "Line 2: no cookie"),
        ("a b=hunter2", "Line 2: no cookie"),
        ("Authorization: hunter2", "Line 2: no cookie"),
        ("X: a=hunter2", "Line 2: no cookie"),
        ("Set-Cookie: hunter2", "Line 2: a Set-Cookie header without 'name=value'."),
        ("Cookie:", "Line 2: no cookie"),
        ("a=hunter2ü", "Line 2: no cookie"),
    ],
)
def test_wrong_line_is_named(tmp_path: Path, line: str, says: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        value(tmp_path, f"a=b\n{line}\n")
    assert says in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert "cookies.txt" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "has no cookies"),
        ("# a=b\n # c=d\n\n", "has no cookies"),
        ("# Netscape HTTP Cookie File\n\n", "has no cookies"),
        ('[{"name": "a", "value": "hunter2"}]', "JSON. Export the cookies in the Netscape format"),
    ],
)
def test_file_without_cookies_is_refused(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(InvalidInputError, match=says):
        value(tmp_path, text)


def test_cookie_that_cannot_be_sent_is_refused_only_if_it_matches(tmp_path: Path) -> None:
    text = netscape("other.org", "FALSE", "/", "FALSE", "0", "a", "hunter2ü")
    assert value(tmp_path, text) is None
    with pytest.raises(InvalidInputError, match="Line 1: the cookie cannot be sent") as caught:
        value(tmp_path, text, "https://other.org/")
    assert "hunter2" not in str(caught.value)


def test_more_cookies_than_a_request_may_have_are_refused(tmp_path: Path) -> None:
    text = "\n".join(f"n{number}={'x' * 1000}" for number in range(8))
    with pytest.raises(InvalidInputError, match=r"for a\.org have 8,038 characters"):
        value(tmp_path, text, "https://a.org/")


def test_secure_cookies_go_to_https_only(tmp_path: Path) -> None:
    text = netscape("a.org", "FALSE", "/", "TRUE", "0", "a", "b")
    assert value(tmp_path, text, "https://a.org") == "a=b"
    assert value(tmp_path, text, "HTTPS://A.org:81/x") == "a=b"
    assert value(tmp_path, text, "http://a.org/") is None
    assert value(tmp_path, "a=b", "ftps://a.org/x") is None


def test_longer_paths_come_first_and_later_lines_replace_earlier_ones(tmp_path: Path) -> None:
    lines = [
        netscape("a.org", "FALSE", "/", "FALSE", "0", "a", "old"),
        netscape("a.org", "FALSE", "/x", "FALSE", "0", "a", "deep"),
        netscape("a.org", "FALSE", "/", "FALSE", "0", "a", "new"),
    ]
    assert value(tmp_path, "\n".join(lines), "https://a.org/x") == "a=deep; a=new"


# ── the option ───────────────────────────────────────────────────────────────────────────────────


def build(*urls: str, cookie: str) -> list[DownloadRequest]:
    return list(DownloadOptions(cookie=cookie).requests([*map(Entry, urls)], directory=""))


def test_each_url_gets_its_own_cookies_and_it_is_said_which(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = [
        netscape(".a.org", "TRUE", "/", "TRUE", "0", "a", "1"),
        netscape("b.org", "FALSE", "/", "FALSE", "0", "b", "2"),
        netscape("b.org", "FALSE", "/", "FALSE", PAST, "c", "3"),
    ]
    Path("cookies.txt").write_text("\n".join(lines))
    for given in ("cookies.txt", "@cookies.txt", f"{tmp_path}/cookies.txt"):
        found = build("http://a.org/", "https://x.a.org/", "http://b.org/", cookie=given)
        assert [one.cookies for one in found] == [None, "a=1", "b=2"]
    assert capsys.readouterr().err.splitlines()[:3] == [
        "seen: cookies.txt: 0 of 3 cookies go to a.org; 2 kept for redirects; 1 left out (expired).",
        "seen: cookies.txt: 1 of 3 cookies go to x.a.org; 1 kept for redirects; 1 left out (expired).",
        "seen: cookies.txt: 1 of 3 cookies go to b.org; 1 kept for redirects; 1 left out (expired).",
    ]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a=b")))
    assert build("http://a.org/", cookie="-")[0].cookies == "a=b"


def jar(tmp_path: Path, text: str, url: str) -> list[str]:
    path = tmp_path / "cookies.txt"
    path.write_text(text)
    (request,) = build(url, cookie=str(path))
    return [one.pair for one in request.cookie_jar]


def test_cookies_of_other_hosts_are_kept_for_redirects(tmp_path: Path) -> None:
    lines = [
        netscape("a.org", "FALSE", "/", "FALSE", "0", "same", "1"),
        netscape("cdn.net", "FALSE", "/", "TRUE", NEVER, "other", "2"),
        netscape("a.org", "FALSE", "/x", "FALSE", "0", "path", "3"),
        netscape("cdn.net", "FALSE", "/", "FALSE", PAST, "old", "4"),
        netscape("cdn.net", "FALSE", "/", "FALSE", "0", "unsendable", "ü"),
        "plain=5",
    ]
    assert jar(tmp_path, "\n".join(lines), "http://a.org/") == ["same=1", "other=2", "path=3"]
    assert jar(tmp_path, "\n".join(lines), "ftp://a.org/x") == []


def test_of_too_many_cookies_those_of_the_site_are_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [
        netscape(f"{number}.net", "FALSE", "/", "FALSE", "0", "n", "x" * 1000)
        for number in range(100)
    ]
    lines.append(netscape("cdn.a.org", "FALSE", "/", "FALSE", "0", "near", "1"))
    assert jar(tmp_path, "\n".join(lines), "http://www.a.org/") == ["near=1"]
    assert "1 kept for redirects; 100 left out (for other hosts)." in capsys.readouterr().err


@pytest.mark.parametrize("given", ["cookies.txt", "", "hunter2" * 10, "~no-such-user/x", "a\0b"])
def test_text_without_equals_sign_is_the_name_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        InvalidInputError, match=r"There is no such file\. Write cookies as"
    ) as caught:
        build("http://a.org/", cookie=given)
    assert caught.value.field == "--cookie"
    assert "hunter2" not in str(caught.value)


def test_text_with_equals_sign_is_sent_as_typed(tmp_path: Path) -> None:
    assert build("http://a.org/", cookie="a=b; c=d")[0].cookies == "a=b; c=d"
