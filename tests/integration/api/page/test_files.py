"""The page's files over HTTP: headers, caching, compression; vendored libraries are unchanged."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import tomllib

import httpx
import pytest

from api.routes.page import FOLDER, MEDIA_TYPES, page
from domain.remedies import downloads
from tests.support.services.http_api import HttpApi

VENDOR = FOLDER / "vendor"
#: What vendored files import, and the names in their packages.
IMPORTS = {
    '"./preact.js"': '"preact"',
    '"./hooks.js"': '"preact/hooks"',
    '"./signals-core.js"': '"@preact/signals-core"',
}
FILES = sorted(
    path.relative_to(FOLDER).as_posix()
    for path in FOLDER.rglob("*")
    if path.suffix in MEDIA_TYPES and path.name != "index.html"
)


def address(name: str) -> str:
    return f"/page/{page().version}/{name}"


def test_the_document_needs_no_sign_in_and_no_other_host(api: HttpApi) -> None:
    answer = api.client().get("/")
    assert answer.status_code == 200
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["Cache-Control"] == "no-cache"
    for found in re.findall(r'(?:src|href)="([^"]+)"', answer.text):
        assert api.client().get(found).status_code == 200, found
    assert "<style" not in answer.text
    assert re.search(r"<script(?![^>]*src=)", answer.text) is None


@pytest.mark.parametrize("name", FILES)
def test_files_are_kept_forever_and_sent_compressed(api: HttpApi, name: str) -> None:
    content = (FOLDER / name).read_bytes()
    plain = api.client().get(address(name), headers={"Accept-Encoding": "identity"})
    assert plain.content == content
    assert "immutable" in plain.headers["Cache-Control"]
    assert plain.headers["Content-Type"] == MEDIA_TYPES[f".{name.rpartition('.')[2]}"]
    assert plain.headers["X-Content-Type-Options"] == "nosniff"
    with api.client().stream("GET", address(name), headers={"Accept-Encoding": "gzip"}) as answer:
        assert answer.headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(b"".join(answer.iter_raw())) == content
    again = api.client().get(address(name), headers={"If-None-Match": plain.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_the_page_has_the_remedies_of_commands(api: HttpApi) -> None:
    module = api.client().get(address("remedies.js")).text
    assert json.loads(module.partition("=")[2].rstrip("; \n")) == downloads.BY_CODE


@pytest.mark.parametrize(
    "path",
    [
        "/page/0123456789abcdef/app.js",  # of another version
        address("vendor/README.md"),
        address("../routes/page.py"),
        address("..%2froutes%2fpage.py"),
        address("nothing.js"),
        address(""),
    ],
)
def test_nothing_else_is_served(api: HttpApi, path: str) -> None:
    answer = api.client().request("GET", httpx.URL(api.url, raw_path=path.encode()))
    assert answer.status_code == 404


@pytest.mark.parametrize(
    ("accepted", "is_compressed"),
    [
        ("gzip", True),
        ("br, gzip;q=0.5", True),
        ("GZIP", True),
        ("gzip;q=0", False),
        ("gzip;q=0.000, br", False),
        ("br", False),
        ("", False),
        ("xgzip", False),
    ],
)
def test_encodings_that_are_accepted(api: HttpApi, accepted: str, is_compressed: bool) -> None:
    answer = api.client().get("/", headers={"Accept-Encoding": accepted})
    assert ("gzip" in answer.headers.get("Content-Encoding", "")) is is_compressed


def test_vendored_files_are_those_of_their_packages() -> None:
    lines = re.findall(
        r"^\| (\S+) \| .* \| ([0-9a-f]{64}) \|$", (VENDOR / "README.md").read_text(), re.M
    )
    assert {name for name, _ in lines} == {
        path.name for path in VENDOR.iterdir() if path.suffix in {".js", ".css"}
    }
    for name, digest in lines:
        content = (VENDOR / name).read_text()
        for ours, theirs in IMPORTS.items():
            content = content.replace(ours, theirs)
        assert hashlib.sha256(content.encode()).hexdigest() == digest, name


def test_no_file_of_the_page_names_another_host() -> None:
    for path in FOLDER.rglob("*.*"):
        if path.parent != VENDOR:
            found = set(re.findall(r"https?://[\w.]+", path.read_text()))
            assert found <= {"https://example.org", "http://www.w3.org"}, path


def test_the_wheel_has_all_files() -> None:
    root = FOLDER.parents[1]
    project = tomllib.loads((root / "pyproject.toml").read_text())
    patterns = project["tool"]["setuptools"]["package-data"]["api"]
    packed = {path for pattern in patterns for path in (root / "api").glob(pattern)}
    assert {path for path in FOLDER.rglob("*") if path.is_file()} <= packed
