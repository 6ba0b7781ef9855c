"""What was typed becomes a request, or an error that names the option."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli import requests
from domain.errors import InvalidInputError

URL = "http://example.com/file.bin"
PLAIN = {"directory": "", "name": None, "sha256": None, "checksum": None, "overwrite": False}


def test_one_request_for_each_different_url() -> None:
    built = requests.build([URL, f"{URL}2", URL], **PLAIN)  # type: ignore[arg-type]
    assert [request.url for request in built] == [URL, f"{URL}2"]


def test_sha256_is_a_checksum() -> None:
    (request,) = requests.build([URL], **(PLAIN | {"sha256": "AB" * 32}))  # type: ignore[arg-type]
    assert request.checksum == f"sha256:{'ab' * 32}"


@pytest.mark.parametrize("option", ["url", "name", "directory", "user_id"])
def test_bytes_that_are_no_text_are_refused(option: str) -> None:
    broken = b"x\xff".decode(errors="surrogateescape")
    urls = [URL + broken] if option == "url" else [URL]
    values = PLAIN if option == "url" else PLAIN | {option: broken}
    with pytest.raises(InvalidInputError):
        requests.build(urls, **values)  # type: ignore[arg-type]


def test_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert requests.folder(".") == str(tmp_path)
    assert requests.folder("a/../b") == str(tmp_path / "b")
    assert requests.folder("~") == str(Path.home())
    (tmp_path / "file").write_text("")
    for wrong in ("file", "file/below", "nul\0byte"):
        with pytest.raises(InvalidInputError):
            requests.folder(wrong)
    assert not (tmp_path / "b").exists()
