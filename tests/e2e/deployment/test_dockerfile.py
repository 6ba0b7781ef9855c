"""The Dockerfile: what is pinned, what is copied, and which user runs it."""

from __future__ import annotations

import re
import tomllib
from fnmatch import fnmatch

from tests.support.services.compose import (
    OURS,
    ROOT,
    SERVICES,
    kept_by_dockerignore,
)


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile as (instruction, arguments), comments gone and continued lines joined."""
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    text = "\n".join(line for line in lines if not line.lstrip().startswith("#"))
    joined = text.replace("\\\n", " ").splitlines()
    found = [line.split(maxsplit=1) for line in joined if line.strip()]
    return [(name.upper(), rest) for name, rest in found]


def last_stage() -> dict[str, str]:
    """The last value of each instruction after the last FROM."""
    stage: dict[str, str] = {}
    for name, rest in instructions():
        stage = {name: rest} if name == "FROM" else {**stage, name: rest}
    return stage


def test_the_image_is_pinned_and_does_not_run_as_root() -> None:
    for name, rest in instructions():
        if name == "FROM":
            assert re.match(r"python:3\.\d+\.\d+-slim-\w+", rest)
    stage = last_stage()
    user = stage["USER"].partition(":")[0]
    assert int(user) >= 10_000
    assert f"--uid {user}" in stage["RUN"]
    assert stage["WORKDIR"] == "/", "other users of the container may not enter a private folder"
    assert stage["STOPSIGNAL"] == "SIGTERM"
    assert stage["HEALTHCHECK"] == "NONE"


def test_the_image_installs_what_is_pinned_and_then_the_project_alone() -> None:
    installs = [rest for name, rest in instructions() if name == "RUN" and "pip install" in rest]

    assert len(installs) == 2
    assert "requirements.txt" in installs[0]
    assert "--only-binary=:all:" in installs[0]
    assert all("--no-deps" in install for install in installs)
    assert any("PIP_NO_CACHE_DIR=1" in rest for name, rest in instructions() if name == "ENV")


def test_the_image_is_given_the_project_and_nothing_secret() -> None:
    kept = kept_by_dockerignore()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    built = project["tool"]["setuptools"]
    wanted = {package.partition(".")[0] for package in built["packages"]}
    wanted |= {f"{module}.py" for module in built["py-modules"]}

    assert wanted <= kept
    assert {"pyproject.toml", "requirements.txt", project["project"]["readme"]} <= kept
    for secret in (".env", ".git", "tests", ".venv"):
        assert not any(fnmatch(secret, pattern) for pattern in kept)


def test_folders_that_volumes_are_mounted_on_belong_to_the_user_of_the_image() -> None:
    made = last_stage()["RUN"]

    for name in OURS:
        for volume in SERVICES[name].get("volumes", []):
            assert volume.partition(":")[2] in made
