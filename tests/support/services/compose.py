"""docker-compose.yml as data, and its services' commands as processes of this machine."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.support.servers.process import Process, free_port, spawn
from tests.support.stores.server import StoreServer

ROOT = Path(__file__).parents[3]
BIN = Path(sys.executable).parent

Service = dict[str, Any]

OURS = {"migrate", "worker", "worker-maintenance", "beat", "api", "flower"}
LASTING = OURS - {"migrate"}


def read_compose() -> dict[str, Any]:
    compose: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return compose


#: The file as it is written.
COMPOSE = read_compose()


def substitute(text: str, values: Mapping[str, str]) -> str:
    """Fill in variables as Compose does; a required one that is not in `values` is a KeyError."""

    def value(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        given, rest = values.get(match["name"]), match["rest"]
        match match["operator"]:
            case ":-":
                return given or rest
            case ":+":
                return rest if given else ""
            case _:
                return values[match["name"]]

    pattern = r"\$\$|\$\{(?P<name>\w+)(?:(?P<operator>:-|:\+|\?)(?P<rest>[^}]*))?\}"
    return re.sub(pattern, value, text)


def filled_in(value: Any, values: Mapping[str, str]) -> Any:
    """Fill in all variables of a part of the file."""
    match value:
        case str():
            return substitute(value, values)
        case list():
            return [filled_in(item, values) for item in value]
        case dict():
            return {key: filled_in(item, values) for key, item in value.items()}
    return value


PASSWORDS = {
    "SEEN_CACHE_PASSWORD": "cache-password",
    "POSTGRES_PASSWORD": "postgres-password",
    "SEEN_FLOWER_PASSWORD": "open-sesame",
}
#: The services with a `.env` that has these passwords and nothing else.
SERVICES: dict[str, Service] = filled_in(COMPOSE["services"], PASSWORDS)


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
        secrets_in_files: `.env` names files of passwords instead of having them.
    """

    def __init__(
        self,
        folder: Path,
        image: Path,
        store: StoreServer,
        database_url: str,
        *,
        secrets_in_files: bool = False,
    ) -> None:
        self.folder = folder
        self._image = image
        self.flower_port = free_port()
        self._secrets = folder / "secrets"
        passwords = {**PASSWORDS, "SEEN_CACHE_PASSWORD": store.password}
        env_file = self._write_secrets(passwords) if secrets_in_files else passwords
        self._services: dict[str, Service] = filled_in(COMPOSE["services"], env_file)
        self._elsewhere = {
            "SEEN_CACHE_ADDR": store.addr,
            "SEEN_DATABASE_URL": database_url,
            "SEEN_DOWNLOAD_DIR": str(folder / "downloads"),
            "SEEN_API_ADDRESS": "127.0.0.1",
            "SEEN_API_PORT": str(free_port()),
            "SEEN_FLOWER_ADDRESS": "127.0.0.1",
            "SEEN_FLOWER_PORT": str(self.flower_port),
        }

    def _write_secrets(self, passwords: Mapping[str, str]) -> dict[str, str]:
        """Write each password to its file; return what `.env` has then."""
        self._secrets.mkdir()
        env_file = dict.fromkeys(passwords, "")
        for variable, password in passwords.items():
            secret = variable.removeprefix("SEEN_").lower()
            (self._secrets / secret).write_text(f"{password}\n")
            env_file[f"{variable}_FILE"] = str(self._secrets / secret)
        return env_file

    def environment(self, name: str) -> dict[str, str]:
        """What a service's container has: of this machine's variables only PATH."""
        declared = {
            key: str(value).replace("/run/secrets", str(self._secrets))
            for key, value in self._services[name]["environment"].items()
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
        how, *words = SERVICES[name]["healthcheck"]["test"]
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
