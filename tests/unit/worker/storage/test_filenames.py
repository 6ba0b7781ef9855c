"""File names and folders: nothing from outside leaves the folder, hides, or plays tricks."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from domain.errors import DiskUnavailableError, InvalidInputError
from domain.files import WORKING_PREFIX
from worker.storage.filenames import name_from_url, numbered, resolve_directory, safe_name
from worker.storage.publishing.fallback_names import fallback_names

#: What stays as it is: it does no harm here.
KEPT = {
    "an ordinary name": "film.mkv",
    "letters of any script": "Der Film – ü 映画 فيلم.mkv",
    "a leading dot": ".gitignore",
    "a leading dot, with a suffix": ".config.json",
    "leading dots that name no folder": "..config",
    "a leading dash": "-rf",
    "a leading tilde": "~user",
    "a device of Windows": "aux.c",
    "another one, with nothing after it": "con",
    "and one in upper case": "COM1.tar.gz",
    "a stream of Windows": "film.mkv::$DATA",
    "characters that Windows refuses": 'a:b*c?"<d>|e.txt',
    "characters that shells read": "a $(b) `c`; & 'd' #e!.txt",
    "an emoji sequence": "👩\u200d🚀.png",
    "an emoji with a variation": "❤\ufe0f.png",
    "the flag of Scotland": "🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f.png",
    "a joiner in Persian": "می\u200cخواهم.pdf",
    "a joiner in Devanagari": "क्\u200dष.pdf",
    "composed letters": "caf\u00e9.txt",
    "decomposed letters": "cafe\u0301.txt",
    "a sign around digits": "\u0601123.txt",
    "a wide space": "映画\u3000第1話.mkv",
    "a space that does not break": "Band\u00a01.pdf",
    "two spaces": "a  b.txt",
    "percent signs": "100% a%2fb.txt",
    "dots inside": "a...b..txt",
    "a working name of somebody else": ".seenx-1.part",
}

#: What is changed, and what it becomes.
CHANGED = {
    "a path": ("../../etc/passwd", "passwd"),
    "an absolute path": ("/etc/passwd", "passwd"),
    "a path of Windows": ("..\\..\\boot.ini", "boot.ini"),
    "a drive": ("C:\\films\\film.mkv", "film.mkv"),
    "both kinds of slash": ("a/b\\c/d.mkv", "d.mkv"),
    "a folder": ("film.mkv/", "download"),
    "nothing": ("", "download"),
    "this folder": (".", "download"),
    "the folder above": ("..", "download"),
    "dots only": ("...", "download"),
    "dots and spaces only": (" . . ", "download"),
    "a working name": (".seen-1.part", "seen-1.part"),
    "a working name in upper case": (".SEEN-1.part", "SEEN-1.part"),
    "a working name with a long s": (".\u017feen-1.part", "\u017feen-1.part"),
    "a working name, hidden": ("\u202e.se\u200ben-1.part", "seen-1.part"),
    "control characters": ("a\0b\nc\x7fd\x85e", "abcde"),
    "an escape of terminals": ("\x1b[31mred", "[31mred"),
    "separators of lines": ("a\u2028b\u2029c", "abc"),
    "an override of direction": ("txt.\u202eexe", "txt.exe"),
    "an isolate and a mark of direction": ("a\u2066b\u200fc\u061cd", "abcd"),
    "spaces without width": ("a\u200bb\ufeffc\u2060d", "abcd"),
    "a hyphen that is not shown": ("a\u00adb", "ab"),
    "tags without a flag": ("a\U000e0067\U000e007f.txt", "a.txt"),
    "joiners that join nothing": ("\u200da\u200d\u200d \u200cb\u200d", "a\u200d b"),
    "half a character": ("bad\ud800.txt", "bad.txt"),
    "spaces around": ("  spaced.txt  ", "spaced.txt"),
    "wide spaces around": ("\u3000spaced.txt\u00a0", "spaced.txt"),
    "dots at the end": ("film.mkv. . .", "film.mkv"),
    "a suffix out of sight": ("a.pdf" + " " * 90 + "\u00a0\u2003.exe", "a.pdf .exe"),
    "letters that are blank": ("\u3164\u2800\uffa0", "download"),
    "marks without a letter": ("\u0301\u0301a\u0301", "a\u0301"),
    "marks without end": ("e" + "\u0323" * 5000 + ".txt", "e" + "\u0323" * 8 + ".txt"),
}


@pytest.mark.parametrize("name", KEPT.values(), ids=KEPT)
def test_a_name_that_does_no_harm_is_kept(name: str) -> None:
    assert safe_name(name) == name


@pytest.mark.parametrize(("name", "safe"), CHANGED.values(), ids=CHANGED)
def test_a_name_is_made_safe(name: str, safe: str) -> None:
    assert safe_name(name) == safe


@pytest.mark.parametrize("letter", ["a", "ü", "語", "🎬"])
def test_an_over_long_name_keeps_its_suffix(letter: str) -> None:
    safe = safe_name(letter * 300 + ".mkv")
    assert safe.endswith(letter + ".mkv")
    assert 200 - len(letter.encode()) < len(safe.encode()) <= 200


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("a." + "b" * 300, "a." + "b" * 198),
        ("x" * 300 + ".tar.gz", "x" * 193 + ".tar.gz"),
        ("x" * 196 + ".mkv", "x" * 196 + ".mkv"),
        ("x" * 190 + " " * 3 + "y" * 50 + ".mkv", "x" * 190 + " " * 3 + "yyy.mkv"),
        ("x" * 194 + " y" * 50 + ".mkv", "x" * 194 + " y.mkv"),
        ("x" * 195 + " y" * 50 + ".mkv", "x" * 195 + ".mkv"),
        ("." * 300 + "b" * 300, "download"),
        ("👩\u200d" * 100 + ".png", "👩\u200d" * 27 + "👩.png"),
    ],
)
def test_an_over_long_name_is_cut(name: str, safe: str) -> None:
    assert safe_name(name) == safe


#: The last part of a URL's path, and the name it gives.
FROM_URL = {
    "an ordinary name": ("/a/film.mkv", "film.mkv"),
    "a query with a path": ("/a/film.mkv?x=/y.mkv#z", "film.mkv"),
    "a folder": ("/a/", "a"),
    "the root": ("/", "download"),
    "nothing": ("", "download"),
    "a query alone": ("?file=film.mkv", "download"),
    "the folder above": ("/..", "download"),
    "the folder above, encoded": ("/a/%2e%2e", "download"),
    "UTF-8": ("/a%20film%C3%BC.mkv", "a filmü.mkv"),
    "octets of another charset": ("/caf%E9.txt", "caf%E9.txt"),
    "octets of another charset, in lower case": ("/caf%e9.txt", "caf%e9.txt"),
    "octets of both": ("/%C3%A9%E9%C3%A9.txt", "é%E9é.txt"),
    "half a character": ("/a%C3", "a%C3"),
    "a longer form than needed": ("/%C0%AEa", "%C0%AEa"),
    "half a pair": ("/%ED%A0%80a", "%ED%A0%80a"),
    "a slash": ("/a%2Fb.txt", "a%2Fb.txt"),
    "a slash, encoded twice": ("/a%252Fb.txt", "a%252Fb.txt"),
    "slashes that lead out": ("/%2e%2e%2fetc%2fpasswd", "..%2fetc%2fpasswd"),
    "a backslash": ("/a%5Cb.txt", "a%5Cb.txt"),
    "a raw backslash": ("/a\\b.txt", "a%5Cb.txt"),
    "a NUL and a line break": ("/a%00%0Ab%7F%C2%85c", "a%00%0Ab%7F%C2%85c"),
    "an override of direction": ("/txt.%E2%80%AEexe", "txt.exe"),
    "a percent sign": ("/100%25.txt", "100%.txt"),
    "a percent sign before what is encoded": ("/%25%32%46.txt", "%252F.txt"),
    "a percent sign that encodes nothing": ("/100%.txt%zz", "100%.txt%zz"),
    "parameters": ("/a.txt;v=1", "a.txt;v=1"),
    "a leading dot": ("/.htaccess", ".htaccess"),
    "a working name": ("/.seen-1.part", "seen-1.part"),
    "a working name, encoded": ("/%2Eseen-1.part", "seen-1.part"),
    "a plus sign": ("/a+b.txt", "a+b.txt"),
}


@pytest.mark.parametrize(("path", "name"), FROM_URL.values(), ids=FROM_URL)
def test_a_url_gives_a_name(path: str, name: str) -> None:
    assert name_from_url(f"https://example.com{path}") == name


def test_how_ftp_is_to_transfer_is_no_part_of_a_name() -> None:
    assert name_from_url("FTP://example.com/a;b.txt;type=i") == "a;b.txt"


@pytest.mark.parametrize(
    ("name", "number", "numbered_name"),
    [
        ("film.mkv", 0, "film.mkv"),
        ("film.mkv", 1, "film (1).mkv"),
        ("film", 12, "film (12)"),
        ("film.tar.gz", 1, "film (1).tar.gz"),
        ("film.TAR.XZ", 1, "film (1).TAR.XZ"),
        ("dump.sql.zst", 1, "dump (1).sql.zst"),
        ("a.tar.gz.asc", 1, "a (1).tar.gz.asc"),
        ("film.mkv.sha256", 1, "film (1).mkv.sha256"),
        ("a.gz", 1, "a (1).gz"),
        ("version 1.5.gz", 1, "version 1.5 (1).gz"),
        ("film.2024.mkv", 1, "film.2024 (1).mkv"),
        ("my.film.mkv", 1, "my.film (1).mkv"),
        (".gitignore", 1, ".gitignore (1)"),
        (".config.json", 1, ".config (1).json"),
        (".tar.gz", 1, ".tar (1).gz"),
        (".gz", 1, ".gz (1)"),
        ("film (1).mkv", 1, "film (1) (1).mkv"),
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


@pytest.mark.parametrize(
    "directory",
    [
        *("", ".", "./films", "films/", "films//new", "films/.", "films/../films", "new/../films"),
        *(
            "in",
            "in/x",
            "in/../films",
            "films/file",
            "films/file/x",
            "...",
            "films/..x",
            "LINK",
            "x\ny",
        ),
        *("ROOT", "ROOT/", "ROOT/films", "//ROOT/films", "ROOT/in/x", "ROOT/./films", "LINK/films"),
    ],
)
def test_a_path_leads_where_the_system_says(root: Path, tmp_path: Path, directory: str) -> None:
    """Whether it has links, dots or slashes to be resolved or not."""
    (root / "in").symlink_to(root / "films")
    (root / "films/file").touch()
    (tmp_path / "link").symlink_to(root)
    directory = directory.replace("ROOT", str(root)).replace("LINK", str(tmp_path / "link"))
    directory = directory.replace("///", "//")
    expected = Path(os.path.realpath(root / directory))
    assert resolve_directory(root, directory, allow_any=True) == expected
    assert str(resolve_directory(root, directory, allow_any=False)) == str(expected)


def test_any_folder_where_that_is_allowed(root: Path, tmp_path: Path) -> None:
    assert resolve_directory(root, str(tmp_path), allow_any=True) == tmp_path
    assert resolve_directory(root, "films", allow_any=True) == root / "films"


@pytest.mark.parametrize("directory", ["..", "films/../..", "out", "out/new", "films/out"])
def test_relative_folder_stays_inside_also_where_any_is_allowed(
    root: Path, tmp_path: Path, directory: str
) -> None:
    (root / "out").symlink_to(tmp_path)
    (root / "films/out").symlink_to("/")
    with pytest.raises(InvalidInputError, match="inside the download folder"):
        resolve_directory(root, directory, allow_any=True)
    assert resolve_directory(root, str(root / "out"), allow_any=True) == tmp_path


@pytest.mark.parametrize(
    "name",
    ["..seen-x", "..SEEN-x", ". .seen-x", "...", "..:", "x" * 200 + ".\u00e9", "\U0001f600" * 50],
)
def test_substitute_is_a_safe_name_as_well(name: str) -> None:
    for substitute in fallback_names(name):
        assert not substitute.casefold().startswith(WORKING_PREFIX)
        assert substitute not in {"", ".", ".."}
        assert len(substitute.encode()) <= 143


@pytest.mark.parametrize("directory", ["", "films"])
def test_download_folder_that_was_replaced_by_a_link_is_the_workers_trouble(
    tmp_path: Path, directory: str
) -> None:
    """It was moved to another disk: no job is wrong for that, and nothing is put there unasked."""
    root, other = tmp_path / "downloads", tmp_path / "other"
    root.mkdir()
    root.rename(other)
    root.symlink_to(other)
    with pytest.raises(DiskUnavailableError, match="leads to"):
        resolve_directory(root, directory, allow_any=False)


def test_folder_in_the_download_folder_that_leads_out_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "downloads"
    root.mkdir()
    (root / "films").symlink_to(tmp_path)
    with pytest.raises(InvalidInputError):
        resolve_directory(root, "films", allow_any=False)
