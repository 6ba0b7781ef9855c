"""`seen-client` is a distribution of its own: it is built, and works beside httpx alone."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

CLIENT = Path(__file__).parents[3] / "client"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from what git has of the folder, without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "client"
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.check_output(listed, cwd=CLIENT, text=True).split("\0"):
        if name:
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((CLIENT / name).read_bytes())
    script = f"from setuptools.build_meta import build_wheel; build_wheel({str(folder)!r})"
    subprocess.run(
        [sys.executable, "-c", script], cwd=source, check=True, capture_output=True, timeout=120
    )
    (found,) = folder.glob("*.whl")
    return found


def _requirements(name: str) -> set[str]:
    """What a distribution needs here, directly or not, without extras."""
    try:
        needed = metadata.requires(name) or ()
    except metadata.PackageNotFoundError:  # another version of Python needs it
        return set()
    found = {name}
    for one in needed:
        if "extra ==" not in one:
            found |= _requirements(re.split(r"[^\w-]", one, maxsplit=1)[0])
    return found


def test_the_wheel_has_the_whole_package(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if name.startswith("seen_client/")}
        (about,) = (one for one in archive.namelist() if one.endswith("METADATA"))
        text = archive.read(about).decode()
    files = (CLIENT / "seen_client").rglob("*")
    modules = {str(one.relative_to(CLIENT)) for one in files if one.suffix in {".py", ".typed"}}
    assert names == modules
    assert re.findall(r"^Requires-Dist: (\w+)", text, re.MULTILINE) == ["httpx"]


def test_it_works_with_httpx_alone(wheel: Path, tmp_path: Path) -> None:
    """In an environment with nothing else, in which no module of the service can be imported."""
    packages = tmp_path / "packages"
    packages.mkdir()
    zipfile.ZipFile(wheel).extractall(packages)
    installed = Path(sysconfig.get_path("purelib"))
    for name in _requirements("httpx"):
        for top in {Path(one).parts[0] for one in map(str, metadata.files(name) or ())}:
            if not top.startswith("..") and (installed / top).exists():
                (packages / top).symlink_to(installed / top)
    code = (
        f"import sys; sys.path.insert(0, {str(packages)!r})\n"
        "import asyncio, seen_client\n"
        "asyncio.run(seen_client.AsyncClient('http://localhost').close())\n"
        "with seen_client.Client('http://127.0.0.1:1', retry_for=0) as client:\n"
        "    try: client.totals()\n"
        "    except seen_client.NoAnswerError: print(seen_client.__file__)\n"
    )
    run = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == str(packages / "seen_client" / "__init__.py")
