"""The package aria2 of npm, which web front ends use, works with the service as with aria2."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support import aria2
from tests.support.aria2 import rpc
from tests.support.services.http_api import HttpApi
from tests.support.services.system import ROOT

SOURCE = Path(aria2.__file__).parent / "npm"
#: In the environment of the checkout, which is no part of it.
INSTALLED = ROOT / ".venv" / "npm-aria2"


@pytest.fixture(scope="module")
def program() -> Path:
    """Return the client's program beside the package, which npm installs at first use."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not installed")
    INSTALLED.mkdir(exist_ok=True)
    for name in ("package.json", "package-lock.json", "client.cjs"):
        shutil.copy(SOURCE / name, INSTALLED)
    if not (INSTALLED / "node_modules" / "aria2").is_dir():
        _install()
    return INSTALLED / "client.cjs"


def _install() -> None:
    """Install what the lock file names; its digests are checked, and no script of a package is run."""
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    try:
        subprocess.run(
            command, cwd=INSTALLED, check=True, capture_output=True, text=True, timeout=120
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        shutil.rmtree(INSTALLED / "node_modules", ignore_errors=True)
        pytest.skip(f"npm cannot install the package: {error}: {error.stderr!r}")


def test_the_package_of_npm(program: Path, api: HttpApi, files: Mapping[str, str]) -> None:
    command = ["node", str(program), str(api.port), api.keys["root"], files["fast"], files["slow"]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["changed"] == ["OK"]
    assert {"downloadSpeed", "numActive", "numStopped", "numWaiting"} <= set(found["stat"])
    assert found["unknown"] == {"code": 1, "message": "No such method: aria2.nope"}
    assert found["limit"] == "9"
    assert found["purged"] == "OK"
    assert found["stopped"] == []
    methods = rpc(api, "root").call("system.listMethods")
    assert found["methods"] == [name.removeprefix("aria2.") for name in methods]
