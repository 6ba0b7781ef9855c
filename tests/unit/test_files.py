"""File names and folders: nothing from outside leaves the folder, hides, or plays tricks."""

from __future__ import annotations

from pathlib import Path

import pytest

from domain.errors import InvalidInputError
from worker.files import name_from_url, numbered, resolve_directory, safe_name


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("film.mkv", "film.mkv"),
        ("Der Film – ü.mkv", "Der Film – ü.mkv"),
        ("../../etc/passwd", "passwd"),
        ("/etc/passwd", "passwd"),
        ("..\\..\\boot.ini", "boot.ini"),
        ("C:\\films\\film.mkv", "film.mkv"),
        ("a/b\\c/d.mkv", "d.mkv"),
        ("film.mkv/", "download"),
        ("", "download"),
        (".", "download"),
        ("..", "download"),
        ("...", "download"),
        (" . . ", "download"),
        (".bashrc", "bashrc"),
        (" . .bashrc", "bashrc"),
        (".\u2003.hidden", "hidden"),
        (".seen-1.part", "seen-1.part"),
        ("a\0b\nc\x7fd\x85e", "abcde"),
        ("\x1b[31mred", "[31mred"),
        ("a\u2028b\u2029c", "abc"),
        ("txt.\u202eexe", "txt.exe"),
        ("a\u200bb\ufeffc\u2066d", "abcd"),
        ("bad\ud800.txt", "bad.txt"),
        ("  spaced.txt  ", "spaced.txt"),
        ("film.mkv. . .", "film.mkv"),
        ("film.mkv::$DATA", "film.mkv::$DATA"),
        ("invoice.pdf" + " " * 90 + "\u00a0\u2003.exe", "invoice.pdf .exe"),
        ("\u3164\u2800\uffa0", "download"),
        ("\u0301\u0301a\u0301", "á"),
        ("e" + "\u0323" * 5000 + ".txt", "ẹ" + "\u0323" * 8 + ".txt"),
        ("a%2fb.txt", "a%2fb.txt"),
        ("COM¹.txt", "_COM¹.txt"),
        ("conin$", "_conin$"),
        ("nul .txt", "_nul .txt"),
        ("aux:stream", "_aux:stream"),
        ("con", "_con"),
        ("NUL.txt", "_NUL.txt"),
        ("com1.tar.gz", "_com1.tar.gz"),
        ("console.txt", "console.txt"),
        ("cafe\u0301.txt", "caf\u00e9.txt"),
        ("-rf", "-rf"),
    ],
)
def test_a_name_is_made_safe(name: str, safe: str) -> None:
    assert safe_name(name) == safe


@pytest.mark.parametrize("letter", ["a", "ü", "語", "🎬"])
def test_an_over_long_name_keeps_its_suffix(letter: str) -> None:
    safe = safe_name(letter * 300 + ".mkv")
    assert safe.endswith(letter + ".mkv")
    assert 200 - len(letter.encode()) < len(safe.encode()) <= 200


def test_an_over_long_suffix_is_no_suffix() -> None:
    assert safe_name("a." + "b" * 300) == "a." + "b" * 198


def test_a_name_of_just_the_limit_stays() -> None:
    assert safe_name("x" * 196 + ".mkv") == "x" * 196 + ".mkv"


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://example.com/a/film.mkv", "film.mkv"),
        ("https://example.com/a/film.mkv?x=/y.mkv#z", "film.mkv"),
        ("https://example.com/a/", "a"),
        ("https://example.com/", "download"),
        ("https://example.com", "download"),
        ("https://example.com/..", "download"),
        ("https://example.com/%2e%2e%2f%2e%2e%2fetc%2fpasswd", "passwd"),
        ("https://example.com/a%20film%C3%BC.mkv", "a filmü.mkv"),
        ("https://example.com/%FF.mkv", "\ufffd.mkv"),
        ("https://example.com/%00%0A", "download"),
        ("https://example.com/.htaccess", "htaccess"),
    ],
)
def test_a_url_gives_a_name(url: str, name: str) -> None:
    assert name_from_url(url) == name


@pytest.mark.parametrize(
    ("name", "number", "numbered_name"),
    [
        ("film.mkv", 0, "film.mkv"),
        ("film.mkv", 1, "film (1).mkv"),
        ("film", 12, "film (12)"),
        ("archive.tar.gz", 2, "archive.tar (2).gz"),
    ],
)
def test_a_number_goes_before_the_suffix(name: str, number: int, numbered_name: str) -> None:
    assert numbered(name, number) == numbered_name


# ── folders ─────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "downloads"
    (folder / "films").mkdir(parents=True)
    return folder


@pytest.mark.parametrize(
    ("directory", "target"),
    [("", ""), (".", ""), ("films", "films"), ("films/new/deep", "films/new/deep")],
)
def test_a_folder_inside_is_accepted(root: Path, directory: str, target: str) -> None:
    assert resolve_directory(root, directory, allow_any=False) == root / target


@pytest.mark.parametrize("directory", ["..", "films/../..", "/etc", "../downloads-2"])
def test_a_folder_outside_is_refused(root: Path, directory: str) -> None:
    with pytest.raises(InvalidInputError, match="inside the download folder") as caught:
        resolve_directory(root, directory, allow_any=False)
    assert caught.value.field == "directory"


def test_a_link_does_not_lead_outside(root: Path, tmp_path: Path) -> None:
    (root / "out").symlink_to(tmp_path)
    (root / "in").symlink_to(root / "films")
    with pytest.raises(InvalidInputError):
        resolve_directory(root, "out/x", allow_any=False)
    assert resolve_directory(root, "in/x", allow_any=False) == root / "films/x"


def test_links_in_a_circle_are_refused(root: Path) -> None:
    (root / "a").symlink_to(root / "b")
    (root / "b").symlink_to(root / "a")
    with pytest.raises(InvalidInputError, match="directory"):
        resolve_directory(root, "a/x", allow_any=False)


def test_any_folder_where_that_is_allowed(root: Path, tmp_path: Path) -> None:
    assert resolve_directory(root, str(tmp_path), allow_any=True) == tmp_path
    assert resolve_directory(root, "films", allow_any=True) == root / "films"
