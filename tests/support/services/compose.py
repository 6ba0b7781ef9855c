"""docker-compose.yml as data, and its services' commands as processes of this machine."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import yaml

from tests.support.servers.process import Process, free_port, spawn
from tests.support.stores.server import StoreServer

ROOT = Path(__file__).parents[3]
BIN = Path(sys.executable).parent

Service = dict[str, Any]

OURS = {"migrate", "worker", "worker-maintenance", "beat", "flower"}
LASTING = OURS - {"migrate"}


def read_compose() -> dict[str, Any]:
    compose: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return compose


COMPOSE = read_compose()
SERVICES: dict[str, Service] = COMPOSE["services"]


def substitute(text: str, values: Mapping[str, str]) -> str:
    """Fill in variables as Compose does; a required one that is not in `values` is a KeyError."""

    def value(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        name, operator, default = match["name"], match["operator"], match["rest"]
        return values.get(name) or default if operator == ":-" else values[name]

    pattern = r"\$\$|\$\{(?P<name>\w+)(?:(?P<operator>:-|:\?)(?P<rest>[^}]*))?\}"
    return re.sub(pattern, value, text)


def seconds(duration: str) -> int:
    """What a duration such as "5m" or "30s" is in seconds."""
    match = re.fullmatch(r"(\d+)([sm])", duration)
    assert match, duration
    return int(match[1]) * {"s": 1, "m": 60}[match[2]]


def kept_by_dockerignore() -> set[str]:
    """The files and folders that COPY finds."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in lines, "what is not named stays outside"
    return {line.removeprefix("!") for line in lines if line.startswith("!")}


class Deployment:
    """The services' own commands as processes, with the addresses of the tests' servers.

    Args:
        folder: for files and logs.
        image: the folder that the project is installed in.
        store: its server.
        database_url: a database that `migrate` will fill.
    """

    def __init__(self, folder: Path, image: Path, store: StoreServer, database_url: str) -> None:
        self.folder = folder
        self._image = image
        self.flower_port = free_port()
        self._env_file = {
            "SEEN_CACHE_PASSWORD": store.password,
            "POSTGRES_PASSWORD": "not asked for by the tests' server",
            "SEEN_FLOWER_PASSWORD": "open-sesame",
        }
        self._elsewhere = {
            "SEEN_CACHE_ADDR": store.addr,
            "SEEN_DATABASE_URL": database_url,
            "SEEN_DOWNLOAD_DIR": str(folder / "downloads"),
            "SEEN_FLOWER_ADDRESS": "127.0.0.1",
            "SEEN_FLOWER_PORT": str(self.flower_port),
        }

    def environment(self, name: str) -> dict[str, str]:
        """What a service's container has: of this machine's variables only PATH."""
        declared = {
            key: substitute(str(value), self._env_file)
            for key, value in SERVICES[name]["environment"].items()
        }
        return {
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(self._image),
            **declared,
            **{key: value for key, value in self._elsewhere.items() if key in declared},
            "SEEN_DATA_DIR": str(self.folder / name),  # a container has a disk of its own
        }

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def start(self, name: str) -> Process:
        program, *arguments = SERVICES[name]["command"]
        assert program == "seen"
        (self.folder / name).mkdir(exist_ok=True)
        command = [sys.executable, "-m", "cli", *arguments]
        return spawn(command, log=self.log(name), env=self.environment(name))

    def check(self, name: str) -> bool:
        """Run a service's health check, as it stands in the file."""
        how, *words = [substitute(word, {}) for word in SERVICES[name]["healthcheck"]["test"]]
        if words[0] == "seen":
            words = [sys.executable, "-m", "cli", *words[1:]]
        command = ["/bin/sh", "-c", *words] if how == "CMD-SHELL" else words
        try:
            checked = subprocess.run(
                command,
                env=self.environment(name),
                cwd=self.folder,
                capture_output=True,
                timeout=seconds(SERVICES[name]["healthcheck"]["timeout"]),
                check=False,
            )
        except subprocess.TimeoutExpired:
            return False
        return checked.returncode == 0

    def tasks(self) -> list[dict[str, Any]]:
        """The tasks that Flower has seen."""
        token = b64encode(b"seen:open-sesame").decode()
        request = Request(
            f"http://127.0.0.1:{self.flower_port}/api/tasks",
            headers={"Authorization": f"Basic {token}"},
        )
        with urlopen(request, timeout=10) as answer:
            return list(json.load(answer).values())
