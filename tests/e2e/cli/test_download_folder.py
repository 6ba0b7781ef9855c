"""Jobs stay in the download folder on each way in; `seen get` alone writes to a folder that it names."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.origins.origin import Origin
from tests.support.services.seen import Seen

SUBMIT = """
import sys, tasks
from domain.errors import InvalidInputError
from domain.request import DownloadRequest
for directory in sys.argv[2:]:
    try:
        tasks.submit(DownloadRequest(url=sys.argv[1], directory=directory))
    except InvalidInputError as error:
        print(error.field)
"""
#: {outside} is a folder of the same user, "out" a link to it.
OUTSIDE = ["{outside}", "/etc", "..", "../outside", "out", "out/new", "./out"]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    """A running stack, and a link in its download folder that leads out."""
    with Seen(tmp_path_factory.mktemp("stack")) as seen:
        seen.start("up", "--no-flower", "--no-api")
        seen.wait_for_stack("downloads", "store")
        downloads = seen.data_dir / "downloads"
        downloads.mkdir(exist_ok=True)
        (downloads / "out").symlink_to(_outside(seen))
        yield seen


def _outside(seen: Seen) -> Path:
    folder = seen.data_dir.parent / "outside"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.mark.parametrize("directory", OUTSIDE)
def test_folder_outside_the_download_folder_is_refused(
    seen: Seen, origin: Origin, directory: str
) -> None:
    url = origin.serve("/file.bin", body=b"abc").url
    added = seen.run("add", url, "-d", directory.format(outside=_outside(seen)))
    assert added.status == 2
    assert "download folder" in added.error_line()
    assert not any(job["url"] == url for job in seen.good("list", "--json").json())


def test_python_api_refuses_the_same_folders(seen: Seen, origin: Origin) -> None:
    url = origin.serve("/api.bin", body=b"abc").url
    folders = [one.format(outside=_outside(seen)) for one in OUTSIDE]
    done = subprocess.run(
        [sys.executable, "-c", SUBMIT, url, *folders],
        env=seen.environment,
        cwd=seen.folder,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["directory"] * len(OUTSIDE)
    assert not any(job["url"] == url for job in seen.good("list", "--json").json())


@pytest.mark.parametrize("name", ["../file", "/etc/file", "a/b", "..", "."])
def test_name_is_no_way_out(seen: Seen, origin: Origin, name: str) -> None:
    url = origin.serve("/file.bin", body=b"abc").url
    for command in ("add", "get"):
        assert "no slashes" in seen.run(command, url, "--name", name).error_line()


def test_get_writes_to_its_folder_and_add_does_not_follow_it(seen: Seen, origin: Origin) -> None:
    url = origin.serve("/got.bin", body=b"abc").url
    outside = _outside(seen) / "got"
    seen.good("get", url, "-o", f"{outside}/")
    assert (outside / "got.bin").read_bytes() == b"abc"
    assert seen.run("add", url, "-d", str(outside)).status == 2
    seen.good("add", url, "-d", str(seen.data_dir / "downloads/inside"))
