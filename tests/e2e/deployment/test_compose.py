"""The deployment: docker-compose.yml and the Dockerfile, with their commands run for real.

There is no container engine in the tests. The commands and the health checks are taken from the file as
they stand, given the variables Compose would give them, and run against the tests' own servers.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from fnmatch import fnmatch
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
import yaml

from database import Database, migrate
from settings import PREFIX, Settings
from tests.support.servers.postgres import PostgresServer
from tests.support.servers.process import Process, end_process, free_port, spawn, tail, wait_ready
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until

ROOT = Path(__file__).parents[3]
BIN = Path(sys.executable).parent

Service = dict[str, Any]

OURS = {"migrate", "worker", "worker-maintenance", "beat", "flower"}
LASTING = OURS - {"migrate"}
NO_DATABASE = "postgresql://nobody@127.0.0.1:1/none"


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


def megabytes(size: str) -> float:
    """What a Dragonfly size such as "1gb" is in megabytes."""
    match = re.fullmatch(r"(\d+)(mb|gb)", size)
    assert match, size
    return int(match[1]) * {"mb": 1, "gb": 1024}[match[2]]


def dragonfly_flags() -> dict[str, str]:
    program, *flags = SERVICES["dragonfly"]["command"]
    assert program == "dragonfly"
    return {name: value for name, _, value in (flag.partition("=") for flag in flags)}


# ── what the file says ──────────────────────────────────────────────────────────────────────────


def test_every_part_of_the_service_is_there() -> None:
    assert set(SERVICES) == {"dragonfly", "postgres"} | OURS
    assert SERVICES["migrate"]["command"] == ["seen", "db", "upgrade"]
    assert SERVICES["worker"]["command"] == ["seen", "worker", "--queue", "downloads"]
    assert SERVICES["worker-maintenance"]["command"][-1] == "maintenance"


def test_the_store_never_evicts_and_has_the_memory_it_asks_for() -> None:
    flags = dragonfly_flags()

    assert "--cache_mode" not in flags
    assert megabytes(flags["--maxmemory"]) >= 256 * int(flags["--proactor_threads"])


def test_the_store_saves_into_one_file_on_its_volume() -> None:
    flags = dragonfly_flags()

    assert flags["--dbfilename"]
    assert "{" not in flags["--dbfilename"], "a name with a time in it fills the disk"
    assert len(flags["--snapshot_cron"].split()) == 5
    assert f"dragonfly:{flags['--dir']}" in SERVICES["dragonfly"]["volumes"]


def test_the_store_has_a_password_that_no_command_line_shows() -> None:
    environment = SERVICES["dragonfly"]["environment"]

    assert environment["DFLY_requirepass"].startswith("${SEEN_CACHE_PASSWORD:?")
    assert environment["REDISCLI_AUTH"] == environment["DFLY_requirepass"]
    assert not any("PASSWORD" in str(service.get("command")) for service in SERVICES.values())


def test_only_who_downloads_or_submits_has_the_key() -> None:
    given = {name: SERVICES[name]["environment"]["SEEN_SECRET_KEY"] for name in OURS}

    assert given.pop("worker") == "${SEEN_SECRET_KEY:-}"
    assert set(given.values()) == {""}, "it stands in .env, which everybody is given"


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_images_are_pinned(name: str) -> None:
    tag = SERVICES[name]["image"].rpartition(":")[2]

    assert re.match(r"v?\d+\.\d+", tag), tag


@pytest.mark.parametrize("name", sorted(set(SERVICES) - {"migrate"}))
def test_what_runs_on_is_checked_restarted_and_given_time_to_end(name: str) -> None:
    service = SERVICES[name]

    assert service["restart"] == "unless-stopped"
    check = service["healthcheck"]
    assert {"test", "interval", "timeout", "retries", "start_period"} <= check.keys()
    assert seconds(check["timeout"]) < seconds(check["interval"])
    assert seconds(service["stop_grace_period"]) >= 30


@pytest.mark.parametrize("name", ["worker", "worker-maintenance"])
def test_a_worker_ends_by_itself_before_it_is_killed(name: str) -> None:
    grace = seconds(SERVICES[name]["stop_grace_period"])

    assert grace >= Settings.model_fields["drain_timeout"].default + 5
    assert SERVICES[name]["init"], "it passes the signal on"


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_nothing_is_published_beyond_this_machine(name: str) -> None:
    published = SERVICES[name].get("ports", [])

    assert all(port.startswith("127.0.0.1:") for port in published)
    assert SERVICES[name].get("network_mode") is None
    assert bool(published) == (name == "flower")


@pytest.mark.parametrize("name", sorted(OURS))
def test_our_containers_can_do_little(name: str) -> None:
    service = SERVICES[name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["init"] is True
    assert "/tmp" in service["tmpfs"]
    assert service.get("privileged") is None
    assert service.get("user") is None, "the image's own, which is not root"


@pytest.mark.parametrize(
    ("name", "setting"),
    [*((name, "SEEN_DATA_DIR") for name in sorted(LASTING)), ("worker", "SEEN_DOWNLOAD_DIR")],
)
def test_folders_that_are_written_do_not_lie_on_the_read_only_disk(name: str, setting: str) -> None:
    service = SERVICES[name]
    mounted = [volume.partition(":")[2] for volume in service.get("volumes", [])]

    folder = Path(service["environment"][setting])

    assert any(folder.is_relative_to(place) for place in [*mounted, *service["tmpfs"]])


@pytest.mark.parametrize("name", sorted(LASTING))
def test_nothing_starts_before_the_schema_is_there(name: str) -> None:
    wanted = SERVICES[name]["depends_on"]

    assert wanted["migrate"]["condition"] == "service_completed_successfully"
    assert wanted["dragonfly"]["condition"] == "service_healthy"


def test_volumes_are_named_and_each_is_used() -> None:
    used = {
        volume.partition(":")[0]
        for service in SERVICES.values()
        for volume in service.get("volumes", [])
    }

    assert used == set(COMPOSE["volumes"])


def test_the_example_names_every_variable_and_only_real_ones() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    wanted = set(re.findall(r"\$\{(\w+)", text))
    required = set(re.findall(r"\$\{(\w+):\?", text))
    example = dict(re.findall(r"^#?(\w+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE))

    assert wanted <= example.keys()
    assert all(example[name] == "" for name in required), "an example has no passwords in it"
    settings = {name.removeprefix(PREFIX).lower() for name in example if name.startswith(PREFIX)}
    assert settings <= Settings.model_fields.keys()


def test_every_setting_in_the_file_is_one() -> None:
    for service in SERVICES.values():
        for name in service.get("environment", {}):
            if name.startswith(PREFIX):
                assert name.removeprefix(PREFIX).lower() in Settings.model_fields


# ── what the Dockerfile says ────────────────────────────────────────────────────────────────────


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
    assert stage["STOPSIGNAL"] == "SIGTERM"
    assert stage["HEALTHCHECK"] == "NONE"


def test_the_image_installs_what_is_pinned_and_then_the_project_alone() -> None:
    installs = [rest for name, rest in instructions() if name == "RUN" and "pip install" in rest]

    assert len(installs) == 2
    assert "requirements.txt" in installs[0]
    assert "--only-binary=:all:" in installs[0]
    assert all("--no-deps" in install for install in installs)
    assert any("PIP_NO_CACHE_DIR=1" in rest for name, rest in instructions() if name == "ENV")


def kept_by_dockerignore() -> set[str]:
    """The files and folders that COPY finds."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in lines, "what is not named stays outside"
    return {line.removeprefix("!") for line in lines if line.startswith("!")}


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


# ── what the commands do ────────────────────────────────────────────────────────────────────────


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


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project installed the way the Dockerfile does it, from the files that it is given."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("image")
    for name in kept_by_dockerignore():
        if (ROOT / name).is_dir():
            # Others write into the caches of compiled modules at this moment.
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, source / name, ignore=ignore)
        else:
            shutil.copy(ROOT / name, source / name)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
    command += ["--no-build-isolation", "--target", str(target), str(source)]
    installed = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert installed.returncode == 0, installed.stderr
    return target


@pytest.fixture(scope="module")
def store() -> Iterator[StoreServer]:
    with StoreServer() as store:
        yield store


@pytest.fixture(scope="module")
def database_url(postgres: PostgresServer) -> Iterator[str]:
    url = postgres.create_database()
    yield url
    postgres.drop_database(url)


@pytest.fixture(scope="module")
def deployment(
    tmp_path_factory: pytest.TempPathFactory, image: Path, store: StoreServer, database_url: str
) -> Iterator[Deployment]:
    """Everything of ours, started in the order the file demands."""
    deployment = Deployment(tmp_path_factory.mktemp("compose"), image, store, database_url)
    migrate_process = deployment.start("migrate")
    assert migrate_process.wait(60) == 0, tail(deployment.log("migrate"))
    with ExitStack() as running:
        for name in sorted(LASTING):
            running.callback(end_process, deployment.start(name), grace=30)
        yield deployment


def test_the_image_has_every_file_of_the_project(image: Path) -> None:
    """Also those that only packaging metadata names, such as the Lua scripts."""
    folders = [name for name in kept_by_dockerignore() if (ROOT / name).is_dir()]
    # A .mako is what Alembic makes a new revision from: for developers.
    files = {
        path.relative_to(ROOT)
        for folder in folders
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and path.suffix != ".mako" and path.parent.name != "__pycache__"
    }

    assert {path for path in files if not (image / path).is_file()} == set()


def test_migrate_makes_the_schema(deployment: Deployment, database_url: str) -> None:
    database = Database(database_url)
    try:
        assert migrate.current(database) == migrate.HEAD
    finally:
        database.close()


def test_migrate_may_run_again(deployment: Deployment) -> None:
    assert deployment.start("migrate").wait(60) == 0, tail(deployment.log("migrate"))


@pytest.mark.parametrize("name", sorted(LASTING))
def test_a_service_becomes_healthy(deployment: Deployment, name: str) -> None:
    wait_until(lambda: deployment.check(name), deadline=60, interval=0.2, what=f"{name} is healthy")


@pytest.mark.parametrize("name", ["worker", "worker-maintenance", "beat", "flower"])
def test_a_service_that_is_not_there_is_not_healthy(
    tmp_path: Path, image: Path, private_store: StoreServer, name: str
) -> None:
    """A check that is always content would be of no use."""
    other = Deployment(tmp_path, image, private_store, NO_DATABASE)

    assert not other.check(name)


def test_a_beat_that_no_longer_ticks_is_not_healthy(
    tmp_path: Path, image: Path, private_store: StoreServer
) -> None:
    deployment = Deployment(tmp_path, image, private_store, NO_DATABASE)
    beat = deployment.start("beat")
    wait_until(lambda: deployment.check("beat"), deadline=60, interval=0.2, what="beat is healthy")
    beat.kill()
    beat.wait()
    with private_store.client() as client:
        client.hincrby("seen:beat", "at", -20_000)  # what has passed by then
    assert deployment.check("beat"), "another one may still take over"
    with private_store.client() as client:
        client.hincrby("seen:beat", "at", -15_000)
    assert not deployment.check("beat")


def test_beat_ticks_and_the_maintenance_worker_does_the_work(deployment: Deployment) -> None:
    wait_until(lambda: deployment.check("flower"), deadline=60, interval=0.2, what="Flower is up")

    def ticked() -> list[dict[str, Any]]:
        return [
            task
            for task in deployment.tasks()
            if task["name"] == "download.requeue_due" and task["state"] == "SUCCESS"
        ]

    done = wait_until(ticked, deadline=60, interval=0.2, what="a periodic task has run")

    assert {task["worker"].partition("-")[0] for task in done} == {"maintenance"}


@pytest.mark.parametrize("name", sorted(LASTING))
def test_a_service_ends_on_its_stop_signal(
    tmp_path: Path, image: Path, private_store: StoreServer, database_url: str, name: str
) -> None:
    """Within its grace period, and by its own will: 137 would mean it was killed."""
    other = Deployment(tmp_path, image, private_store, database_url)
    process = other.start(name)
    ready: dict[str, Callable[[], bool]] = {
        "flower": lambda: other.check("flower"),
        "beat": lambda: "beat: Starting" in other.log("beat").read_text(),
    }
    wait_ready(
        process,
        other.log(name),
        ready.get(name, lambda: "ready." in other.log(name).read_text()),
        deadline=60,
    )

    process.terminate()

    assert process.wait(seconds(SERVICES[name]["stop_grace_period"])) == 0, tail(other.log(name))


# ── Dragonfly itself ────────────────────────────────────────────────────────────────────────────


def test_the_health_check_of_the_store_needs_the_password(store: StoreServer) -> None:
    _, check = SERVICES["dragonfly"]["healthcheck"]["test"]
    here = check.replace("redis-cli", f"redis-cli -h 127.0.0.1 -p {store.port}")
    assert here != check

    def healthy(password: str) -> bool:
        environment = {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "REDISCLI_AUTH": password}
        command = ["/bin/sh", "-c", here]
        return subprocess.run(command, env=environment, check=False).returncode == 0

    assert healthy(store.password)
    assert not healthy("wrong")


def test_dragonfly_takes_every_flag_in_the_file(tmp_path: Path) -> None:
    binary = os.environ.get("SEEN_TEST_DRAGONFLY")
    if not binary:
        pytest.skip("SEEN_TEST_DRAGONFLY does not name a Dragonfly")
    folder = tmp_path / "data"
    folder.mkdir()
    log = tmp_path / "dragonfly.log"
    port = free_port()
    values = {"SEEN_CACHE_PASSWORD": "open-sesame"}
    environment = {
        name: substitute(value, values)
        for name, value in SERVICES["dragonfly"]["environment"].items()
    }
    _, *flags = SERVICES["dragonfly"]["command"]
    flags = [flag if not flag.startswith("--dir=") else f"--dir={folder}" for flag in flags]
    command = [str(Path(binary).resolve()), *flags, "--bind=127.0.0.1", f"--port={port}"]
    process = spawn(command, log=log, env={**os.environ, **environment})
    try:
        _, check = SERVICES["dragonfly"]["healthcheck"]["test"]
        here = shlex.join([str(BIN / "redis-cli"), "-p", str(port)])
        shell = ["/bin/sh", "-c", check.replace("redis-cli", here)]
        wait_ready(
            process,
            log,
            lambda: subprocess.run(shell, env=environment, check=False).returncode == 0,
            deadline=30,
        )
        asked = [str(BIN / "redis-cli"), "-p", str(port), "ping"]
        answer = subprocess.run(
            asked, env=environment, capture_output=True, text=True, timeout=10, check=False
        )
        assert answer.stdout.strip() == "PONG"
    finally:
        end_process(process, grace=30)
    assert list(folder.glob("seen*")), "it saves when it ends"
