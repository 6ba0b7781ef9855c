"""A worker that cannot write to the download folder says so and does not start."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.services.seen import Seen

ROOT = Path(__file__).parents[3]

#: Root may write everywhere; without its capabilities it is a user like others.
AS_USER = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []

CHECK = """
import json, sys
from pathlib import Path
from cli.local_stack.download_folder import make_download_folder
from domain.errors import SettingsError

said = {}
for name in sys.argv[1:]:
    try:
        make_download_folder(Path(name))
        said[name] = "made" if Path(name).is_dir() else "missing"
    except SettingsError as error:
        said[name] = str(error)
print(json.dumps(said))
"""

CASES = {
    "writable": "made",
    "new/and/deep": "made",
    "link": "made",
    "unwritable": "is not writable for user",
    "unreadable": "and has mode 0300. Change its owner (chown ",
    "unwritable/new": "cannot be created or used as user",
    "file": "is not a folder. Set SEEN_DOWNLOAD_DIR to one.",
    "file/below": "Not a directory. Create it, or set SEEN_DOWNLOAD_DIR.",
    "dangling": "is not a folder. Set SEEN_DOWNLOAD_DIR to one.",
    "loop": "is not a folder. Set SEEN_DOWNLOAD_DIR to one.",
}


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the check says of each folder."""
    folder = tmp_path_factory.mktemp("folders")
    for name, mode in (("writable", 0o700), ("unwritable", 0o500), ("unreadable", 0o300)):
        (folder / name).mkdir()
        (folder / name).chmod(mode)
    (folder / "link").symlink_to("writable")
    (folder / "dangling").symlink_to("nowhere")
    (folder / "loop").symlink_to("loop")
    (folder / "file").touch()
    command = [*AS_USER, sys.executable, "-c", CHECK, *(str(folder / name) for name in CASES)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return {
        Path(name).relative_to(folder).as_posix(): text
        for name, text in json.loads(ended.stdout).items()
    }


@pytest.mark.parametrize("name", list(CASES))
def test_a_folder_is_made_or_the_reason_is_given(said: dict[str, str], name: str) -> None:
    assert CASES[name] in said[name]


def test_the_sentence_names_the_folder_and_both_users(said: dict[str, str]) -> None:
    text = said["unwritable"]

    assert "/unwritable is not writable for " in text
    assert f"user {os.geteuid()}, group {os.getegid()}: it belongs to user {os.geteuid()}," in text
    assert "DOWNLOADS_OWNER" in text


def test_a_worker_does_not_start_without_its_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    seen = Seen(tmp_path, SEEN_CACHE_ADDR="127.0.0.1:1", SEEN_DOWNLOAD_DIR=str(tmp_path / "file"))

    ended = seen.run("worker")

    assert ended.status == 2
    assert "is not a folder" in ended.error_line()
