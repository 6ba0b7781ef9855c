"""Options become a request, or an error that names the option."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from cli.arguments.download_options import DownloadOptions
from cli.arguments.url_list import Entry
from domain.errors import InvalidInputError
from domain.request import DownloadRequest

URL = "http://example.com/file.bin"


def build(
    *urls: str, directory: str = "", user_id: str | None = None, **options: Any
) -> list[DownloadRequest]:
    given = DownloadOptions(**options)
    return list(given.requests(given.entries(urls or (URL,)), directory=directory, user_id=user_id))


def test_one_request_for_each_different_url() -> None:
    assert [request.url for request in build(URL, f"{URL}2", URL)] == [URL, f"{URL}2"]


def test_sha256_is_a_checksum() -> None:
    (request,) = build(sha256="AB" * 32)
    assert request.checksum == f"sha256:{'ab' * 32}"


@pytest.mark.parametrize("field", ["url", "name", "directory", "user_id"])
def test_bytes_that_are_no_text_are_refused(field: str) -> None:
    broken = b"x\xff".decode(errors="surrogateescape")
    with pytest.raises(InvalidInputError):
        _ = build(URL + broken) if field == "url" else build(**{field: broken})


def test_options_in_the_words_of_curl() -> None:
    (request,) = build(
        mirror=[f"{URL}2"],
        header=["X-Key: a: b", "X-Empty:"],
        user="me:pass:word",
        cookie="a=b",
        max_bytes="5G",
        limit_rate="1.5M",
        connections=8,
        decode=True,
    )
    assert request.mirrors == (f"{URL}2",)
    assert request.headers == {"X-Key": "a: b", "X-Empty": ""}
    assert (request.username, request.password) == ("me", "pass:word")
    assert (request.cookies, request.max_bytes) == ("a=b", 5_000_000_000)
    assert (request.connections, request.decode, request.max_rate) == (8, True, 1_500_000)


def test_secrets_are_read_from_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "headers").write_text("X-One: 1\n\nX-Two: 2\n")
    (tmp_path / "password").write_text("@hunter2\r\nmore\n")
    (tmp_path / "cookies").write_text("a=b\n")
    (request,) = build(
        header=[f"@{tmp_path}/headers", "X-Three: 3"],
        user=f"me:@{tmp_path}/password",
        cookie=f"@{tmp_path}/cookies",
    )
    assert request.headers == {"X-One": "1", "X-Two": "2", "X-Three": "3"}
    assert (request.password, request.cookies) == ("@hunter2", "a=b")

    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"typed\n")))
    assert build(user="me:@-")[0].password == "typed"
    assert build(user="me:")[0].password == ""


@pytest.mark.parametrize("text", ["", "\n", "\r\nhunter2\n"])
def test_empty_password_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "password").write_text(text)
    with pytest.raises(InvalidInputError, match="the password, is empty"):
        build(user=f"me:@{tmp_path}/password")


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"header": ["hunter2"]}, "--header"),
        ({"header": ["X-Key: hunter2", "X-Key: hunter2"]}, "--header"),
        ({"header": ["Range: hunter2"]}, "headers"),
        ({"header": ["@/nowhere/hunter1"]}, "--header"),
        ({"header": ["@/proc/self/exe"]}, "--header"),
        ({"cookie": "@\0"}, "--cookie"),
        ({"cookie": "hunter2\udcff"}, "cookies"),
        ({"user": "hunter2"}, "--user"),
        ({"user": "me:@/nowhere"}, "--user"),
        ({"user": "me:hunter2\udcff"}, "password"),
        ({"user": ":hunter2"}, "username"),
        ({"max_bytes": "much"}, "--max-bytes"),
        ({"limit_rate": ""}, "--limit-rate"),
        ({"limit_rate": "fast"}, "--limit-rate"),
        ({"limit_rate": "-1M"}, "--limit-rate"),
        ({"limit_rate": "0"}, "--limit-rate"),
        ({"limit_rate": "1023"}, "--limit-rate"),
        ({"limit_rate": "2000P"}, "--limit-rate"),
        ({"max_bytes": ""}, "--max-bytes"),
        ({"max_bytes": "0"}, "max_bytes"),
        ({"max_bytes": "9" * 20}, "max_bytes"),
        ({"connections": 33}, "connections"),
        ({"mirror": ["file:///etc/passwd"]}, "mirrors"),
    ],
)
def test_a_wrong_option_is_named_and_no_secret_shown(options: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        build(**options)
    assert caught.value.field == field
    assert "hunter2" not in str(caught.value)


def test_mirrors_go_with_one_url_only() -> None:
    with pytest.raises(InvalidInputError, match="--mirror"):
        build(URL, f"{URL}2", mirror=[f"{URL}3"])


def test_former_name_of_user_is_accepted_with_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    (request,) = build(login="me:secret")
    assert (request.username, request.password) == ("me", "secret")
    assert "--login is now --user" in capsys.readouterr().err
    with pytest.raises(InvalidInputError, match="--login"):
        build(login="me:secret", user="me:secret")


def test_no_origin_checksum_has_its_former_name_still() -> None:
    (plain,), (new,) = build(), build(no_origin_checksum=True)
    (former,) = build(ignore_origin_digests=True)
    assert not plain.ignore_origin_digests
    assert new == former
    assert new.ignore_origin_digests


def test_a_rate_of_none_is_no_limit() -> None:
    assert [build(limit_rate=text)[0].max_rate for text in ("none", "1Ki", "500k")] == [
        None,
        1024,
        500_000,
    ]


def test_entries_of_a_list_differ_in_what_they_say(tmp_path: Path) -> None:
    (tmp_path / "cookies").write_text("a.example\tFALSE\t/\tFALSE\t0\tname\tvalue\n")
    options = DownloadOptions(cookie=str(tmp_path / "cookies"), connections=2)
    entries = [
        Entry("http://a.example/1", name="x", directory="p", checksum=f"sha256:{'ab' * 32}"),
        Entry("http://b.example/2", mirrors=("http://c.example/2",)),
        Entry("http://a.example/3", directory="p/q"),
    ]
    requests = options.requests(entries, directory="/to", max_attempts=3)
    assert [(one.url, one.name, one.directory) for one in requests] == [
        ("http://a.example/1", "x", "/to/p"),
        ("http://b.example/2", None, "/to"),
        ("http://a.example/3", None, "/to/p/q"),
    ]
    assert [one.cookies for one in requests] == ["name=value", None, "name=value"]
    assert [one.mirrors for one in requests] == [(), ("http://c.example/2",), ()]
    assert {(one.connections, one.max_attempts) for one in requests} == {(2, 3)}
    assert requests[1:] == [requests[1], requests[2]]
    for one in requests:
        fields = {**one.model_dump(), "cookies": one.cookies, "cookie_jar": one.cookie_jar}
        assert DownloadRequest(**fields) == one, "the copy is as valid as its original"


def test_only_entry_wins_over_the_options() -> None:
    entry = Entry("http://a/1", mirrors=("http://b/1",), name="x", directory="p")
    options = DownloadOptions(name="y", mirror=["http://c/1", "http://a/1"], sha256="ab" * 32)
    (request,) = options.requests([entry], directory="to")
    assert (request.name, request.directory) == ("x", "to/p")
    assert request.mirrors == ("http://b/1", "http://c/1")
    assert request.checksum == f"sha256:{'ab' * 32}"


def test_cookies_of_many_hosts_are_described_for_the_first_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cookies").write_text("h1.example\tFALSE\t/\tFALSE\t0\tname\tvalue\n")
    entries = [Entry(f"http://h{number % 30}.example/{number}") for number in range(60)]
    DownloadOptions(cookie=str(tmp_path / "cookies")).requests(entries, directory="")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 11
    assert lines[-1].endswith("20 more hosts get those for them.")
