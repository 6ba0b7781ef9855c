"""What was typed becomes a request, or an error that names the option."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from cli.arguments import download_request
from domain.errors import InvalidInputError
from domain.job import DownloadRequest

URL = "http://example.com/file.bin"
PLAIN = {"directory": "", "name": None, "sha256": None, "checksum": None, "overwrite": False}


def test_one_request_for_each_different_url() -> None:
    built = download_request.build([URL, f"{URL}2", URL], **PLAIN)  # type: ignore[arg-type]
    assert [request.url for request in built] == [URL, f"{URL}2"]


def test_sha256_is_a_checksum() -> None:
    (request,) = download_request.build([URL], **(PLAIN | {"sha256": "AB" * 32}))  # type: ignore[arg-type]
    assert request.checksum == f"sha256:{'ab' * 32}"


@pytest.mark.parametrize("option", ["url", "name", "directory", "user_id"])
def test_bytes_that_are_no_text_are_refused(option: str) -> None:
    broken = b"x\xff".decode(errors="surrogateescape")
    urls = [URL + broken] if option == "url" else [URL]
    values = PLAIN if option == "url" else PLAIN | {option: broken}
    with pytest.raises(InvalidInputError):
        download_request.build(urls, **values)  # type: ignore[arg-type]


def test_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert download_request.folder(".") == str(tmp_path)
    assert download_request.folder("a/../b") == str(tmp_path / "b")
    assert download_request.folder("~") == str(Path.home())
    (tmp_path / "file").write_text("")
    for wrong in ("file", "file/below", "nul\0byte"):
        with pytest.raises(InvalidInputError):
            download_request.folder(wrong)
    assert not (tmp_path / "b").exists()


def build(*urls: str, **options: Any) -> list[DownloadRequest]:
    return download_request.build(urls or (URL,), **(PLAIN | options))


def test_options_in_the_words_of_curl() -> None:
    (request,) = build(
        mirrors=[f"{URL}2"],
        headers=["X-Key: a: b", "X-Empty:"],
        login="me:pass:word",
        cookie="a=b",
        max_bytes="5G",
        connections=8,
        decode=True,
    )
    assert request.mirrors == (f"{URL}2",)
    assert request.headers == {"X-Key": "a: b", "X-Empty": ""}
    assert (request.username, request.password) == ("me", "pass:word")
    assert (request.cookies, request.max_bytes) == ("a=b", 5_000_000_000)
    assert (request.connections, request.decode) == (8, True)


def test_secrets_are_read_from_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "headers").write_text("X-One: 1\n\nX-Two: 2\n")
    (tmp_path / "password").write_text("@hunter2\r\nmore\n")
    (tmp_path / "cookies").write_text("a=b\n")
    (request,) = build(
        headers=[f"@{tmp_path}/headers", "X-Three: 3"],
        login=f"me:@{tmp_path}/password",
        cookie=f"@{tmp_path}/cookies",
    )
    assert request.headers == {"X-One": "1", "X-Two": "2", "X-Three": "3"}
    assert (request.password, request.cookies) == ("@hunter2", "a=b")

    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"typed\n")))
    assert build(login="me:@-")[0].password == "typed"
    assert build(login="me:")[0].password == ""


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"headers": ["hunter2"]}, "--header"),
        ({"headers": ["X-Key: hunter2", "X-Key: hunter2"]}, "--header"),
        ({"headers": ["Range: hunter2"]}, "headers"),
        ({"headers": ["@/nowhere/hunter1"]}, "--header"),
        ({"headers": ["@/proc/self/exe"]}, "--header"),
        ({"cookie": "@\0"}, "--cookie"),
        ({"cookie": "hunter2\udcff"}, "cookies"),
        ({"login": "hunter2"}, "--login"),
        ({"login": "me:@/nowhere"}, "--login"),
        ({"login": "me:hunter2\udcff"}, "password"),
        ({"login": ":hunter2"}, "username"),
        ({"max_bytes": "much"}, "--max-bytes"),
        ({"max_bytes": "0"}, "max_bytes"),
        ({"max_bytes": "9" * 20}, "max_bytes"),
        ({"connections": 33}, "connections"),
        ({"mirrors": ["file:///etc/passwd"]}, "mirrors"),
    ],
)
def test_a_wrong_option_is_named_and_no_secret_shown(options: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        build(**options)
    assert caught.value.field == field
    assert "hunter2" not in str(caught.value)


def test_mirrors_go_with_one_url_only() -> None:
    with pytest.raises(InvalidInputError, match="--mirror"):
        build(URL, f"{URL}2", mirrors=[f"{URL}3"])
