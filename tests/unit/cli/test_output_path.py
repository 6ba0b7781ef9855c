"""What `--output` of `seen get` names: a folder, a file, or an error."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cli.arguments.output_path import local_output, remote_output
from domain.errors import InvalidInputError


@pytest.fixture(autouse=True)
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    Path("films").mkdir()
    Path("link").symlink_to("films")
    Path("dangling").symlink_to("nowhere")
    Path("loop").symlink_to("loop")
    Path("old.mkv").write_text("")
    os.mkfifo("fifo")
    return tmp_path


@pytest.mark.parametrize(
    ("output", "folder", "name"),
    [
        ("", "", None),
        (".", "", None),
        ("./", "", None),
        ("films/..", "", None),
        ("films", "films", None),
        ("films/", "films", None),
        ("films/.", "films", None),
        ("link", "films", None),
        ("~", "", None),
        ("~/films", "films", None),
        ("new/", "new", None),
        ("new/deep/", "new/deep", None),
        ("films/../new/", "new", None),
        ("movie.mkv", "", "movie.mkv"),
        ("new", "", "new"),
        ("films/movie.mkv", "films", "movie.mkv"),
        ("link/movie.mkv", "films", "movie.mkv"),
        ("new/movie.mkv", "new", "movie.mkv"),
        ("~/movie.mkv", "", "movie.mkv"),
        ("dangling", "", "dangling"),
        ("loop", "", "loop"),
    ],
)
def test_output_of_one_url(there: Path, output: str, folder: str, name: str | None) -> None:
    expected = (str(there / folder), name)
    assert local_output(output, urls=1, name=None, overwrite=False) == expected
    if not output.startswith(("~", "/")):
        absolute = f"{there}/{output}"
        assert local_output(absolute, urls=1, name=None, overwrite=False) == expected
    assert not (there / "new").exists()


@pytest.mark.parametrize("output", ["", "films", "new", "new/", "link"])
def test_beside_a_name_it_is_the_folder(there: Path, output: str) -> None:
    folder = str((there / output).resolve())
    assert local_output(output, urls=1, name="x", overwrite=False) == (folder, "x")


@pytest.mark.parametrize("output", ["", ".", "films", "films/", "new/", "link"])
def test_folder_of_several_urls(there: Path, output: str) -> None:
    found = local_output(output, urls=2, name=None, overwrite=False)
    assert found == (str((there / output).resolve()), None)


@pytest.mark.parametrize(
    ("output", "urls", "name", "says"),
    [
        ("new", 2, None, "There is no such folder. To create it, write 'new/'"),
        ("movie.mkv", 2, None, "no such folder"),
        ("old.mkv", 2, None, "no such folder"),
        ("old.mkv", 1, None, "The file exists. --overwrite replaces it"),
        ("old.mkv/", 1, None, "old.mkv is not a folder"),
        ("old.mkv", 1, "x", "old.mkv is not a folder"),
        ("old.mkv/below", 1, None, "old.mkv is not a folder"),
        ("fifo", 1, None, "device, pipe or socket"),
        ("/dev/null", 1, None, "device, pipe or socket"),
        ("-", 1, None, "standard output"),
        ("loop/x", 1, None, ""),
        ("~no-such-user/x", 1, None, "cannot be used"),
        ("x" * 300 + "/y", 1, None, "cannot be used"),
        ("nul\0byte", 1, None, "not the name"),
        ("\udcff", 1, None, "not the name"),
    ],
)
def test_wrong_output_is_refused(output: str, urls: int, name: str | None, says: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        local_output(output, urls=urls, name=name, overwrite=False)
    assert says in str(caught.value)
    assert caught.value.field == "--output"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write to every folder")
def test_folder_that_cannot_be_written_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="not writable"):
        local_output("/proc/x/", urls=1, name=None, overwrite=False)


def test_existing_file_is_replaced_on_request(there: Path) -> None:
    assert local_output("old.mkv", urls=1, name=None, overwrite=True) == (str(there), "old.mkv")


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("", ("", None)),
        ("films", ("films", None)),
        ("films/", ("films/", None)),
        ("new/", ("new/", None)),
        ("/srv/new/", ("/srv/new/", None)),
        ("movie.mkv", ("", "movie.mkv")),
        ("new/movie.mkv", ("new", "movie.mkv")),
        ("/srv/movie.mkv", ("/srv", "movie.mkv")),
    ],
)
def test_output_of_configured_workers(
    there: Path, output: str, expected: tuple[str, str | None]
) -> None:
    assert remote_output(output, there, urls=1, name=None) == expected


def test_wrong_output_of_configured_workers(there: Path) -> None:
    assert remote_output("new", there, urls=1, name="x") == ("new", "x")
    for output, urls in (("new", 2), ("-", 1), ("nul\0byte", 1)):
        with pytest.raises(InvalidInputError):
            remote_output(output, there, urls=urls, name=None)
