"""File names are UTF-8 whatever the locale of the process that starts a program."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.origins.origin import Origin
from tests.support.services.seen import ROOT, Seen

NAME = "映画 ü.bin"
#: How each program is started.
PROGRAMS = {
    "python -m cli": ["-c", "import runpy; runpy.run_module('cli', run_name='__main__')", "--help"],
    "console script": ["-c", "from cli.main import main; main()", "--help"],
    "python -m worker.celery_ext.main": ["-m", "worker.celery_ext.main", "worker", "--help"],
    "python -m cli.local_stack.supervisor": ["-m", "cli.local_stack.supervisor"],
    "celery -A worker.app": ["-m", "celery", "-A", "worker.app", "worker"],
}


@pytest.fixture(scope="module")
def locales(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """Return the variables of each locale that can be had here."""
    without = {"PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    found = {"C": {"LC_ALL": "C", **without}, "POSIX": {"LC_ALL": "POSIX", **without}}
    folder = tmp_path_factory.mktemp("locales")
    if shutil.which("localedef"):
        target = folder / "de_DE.ISO-8859-1"
        command = ["localedef", "-i", "de_DE", "-f", "ISO-8859-1", str(target)]
        if subprocess.run(command, capture_output=True).returncode == 0:
            found["de_DE.ISO-8859-1"] = {"LOCPATH": str(folder), "LC_ALL": target.name}
    return found


@pytest.mark.parametrize("name", ["C", "POSIX", "de_DE.ISO-8859-1"])
def test_japanese_name_is_given_in_every_locale(
    tmp_path: Path, origin: Origin, locales: dict[str, dict[str, str]], name: str
) -> None:
    if name not in locales:
        pytest.skip("this locale cannot be made here")
    quoted = "filename*=UTF-8''%E6%98%A0%E7%94%BB%20%C3%BC.bin"
    file = origin.serve("/x", body=b"abc", content_disposition=f"attachment; {quoted}")
    with Seen(tmp_path, **locales[name]) as seen:
        seen.good("get", file.url)
        assert [os.fsencode(path.name) for path in seen.folder.iterdir()] == [NAME.encode()]


@pytest.mark.parametrize("name", ["C", "de_DE.ISO-8859-1"])
def test_name_from_the_command_line_is_read_as_utf8(
    tmp_path: Path, origin: Origin, locales: dict[str, dict[str, str]], name: str
) -> None:
    if name not in locales:
        pytest.skip("this locale cannot be made here")
    with Seen(tmp_path, **locales[name]) as seen:
        seen.good("get", origin.serve("/x", body=b"abc").url, "--name", NAME)
        assert [os.fsencode(path.name) for path in seen.folder.iterdir()] == [NAME.encode()]


SITE = """
import os, sys
if len(getattr(sys, "orig_argv", ())) > 1 and sys.flags.utf8_mode:
    with open(os.environ["TEST_SEEN_MODE"], "a") as file:
        file.write("utf8\\n")
    os._exit(0)
"""


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_program_goes_on_in_utf8_mode(tmp_path: Path, program: str) -> None:
    """A sitecustomize hook notes that Python was restarted in UTF-8 mode, and exits there."""
    (tmp_path / "sitecustomize.py").write_text(SITE)
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith("SEEN_")},
        "LC_ALL": "C",
        "PYTHONCOERCECLOCALE": "0",
        "PYTHONUTF8": "0",
        "PYTHONPATH": f"{tmp_path}:{ROOT}",
        "SEEN_DATA_DIR": str(tmp_path / "data"),
        "TEST_SEEN_MODE": str(tmp_path / "mode"),
    }
    subprocess.run(
        [sys.executable, *PROGRAMS[program]],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert (tmp_path / "mode").read_text() == "utf8\n"
