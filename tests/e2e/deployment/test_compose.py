"""The commands and health checks of docker-compose.yml, run for real.

There is no container engine in the tests. The commands and the health checks are taken from the file,
get the variables that Compose would give them, and run against the tests' own servers.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from database import Database, migrate
from tests.support.servers.postgres import PostgresServer
from tests.support.servers.process import end_process, free_port, spawn, tail, wait_ready
from tests.support.services.compose import (
    BIN,
    LASTING,
    ROOT,
    SERVICES,
    Deployment,
    kept_by_dockerignore,
    seconds,
)
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until

NO_DATABASE = "postgresql://nouser@127.0.0.1:1/none"


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project installed the way the Dockerfile does it, from the files that it is given."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("image")
    for name in kept_by_dockerignore():
        if (ROOT / name).is_dir():
            # Other processes write bytecode there at the same time.
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
    """All services of this project, started in the order of the file, with passwords in files."""
    folder = tmp_path_factory.mktemp("compose")
    deployment = Deployment(folder, image, store, database_url, secrets_in_files=True)
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


@pytest.mark.parametrize("name", ["worker", "worker-maintenance", "beat", "api", "flower"])
def test_a_service_that_is_not_there_is_not_healthy(
    tmp_path: Path, image: Path, private_store: StoreServer, name: str
) -> None:
    """A check that always succeeds would prove nothing."""
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
    log = deployment.log("worker-maintenance")
    wait_until(
        lambda: "tasks.periodic.maintenance: Cache: " in log.read_text(errors="replace"),
        deadline=60,
        interval=0.2,
        what="a periodic task has run",
    )


@pytest.mark.parametrize("name", sorted(LASTING))
def test_a_service_ends_on_its_stop_signal(
    tmp_path: Path, image: Path, private_store: StoreServer, database_url: str, name: str
) -> None:
    """Within its grace period, and by itself: status 137 would mean that it was killed."""
    other = Deployment(tmp_path, image, private_store, database_url)
    process = other.start(name)
    ready: dict[str, Callable[[], bool]] = {
        "api": lambda: other.check("api"),
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


@pytest.mark.parametrize("in_file", [False, True])
def test_the_health_check_of_the_store_needs_the_password(
    tmp_path: Path, store: StoreServer, in_file: bool
) -> None:
    _, check = SERVICES["dragonfly"]["healthcheck"]["test"]
    here = check.replace("redis-cli", f"redis-cli -h 127.0.0.1 -p {store.port}")
    assert here != check

    def healthy(password: str) -> bool:
        (tmp_path / "cache_password").write_text(f"{password}\n" if in_file else "")
        environment = {
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "SEEN_CACHE_PASSWORD": "" if in_file else password,
        }
        command = ["/bin/sh", "-c", here.replace("/run/secrets", str(tmp_path))]
        return subprocess.run(command, env=environment, check=False).returncode == 0

    assert healthy(store.password)
    assert not healthy("wrong")


@pytest.mark.parametrize(
    ("variable", "file", "passed_on"),
    [
        ("open sesame", "", "open sesame"),
        ("", "open sesame\n", "open sesame"),
        ("", "$(id) `id`\n", "$(id) `id`"),
        ("", "", None),
    ],
)
def test_dragonfly_starts_with_its_password_and_not_without(
    tmp_path: Path, variable: str, file: str, passed_on: str | None
) -> None:
    """The image's own entry point gets the password and the flags."""
    (tmp_path / "cache_password").write_text(file)
    stand_in = tmp_path / "entrypoint.sh"
    stand_in.write_text('#!/bin/sh\nprintf "%s\\n" "$DFLY_requirepass" "$@"\n')
    stand_in.chmod(0o700)
    service = SERVICES["dragonfly"]
    words = [*service["entrypoint"], *service["command"]]
    command = [word.replace("/run/secrets", str(tmp_path)) for word in words]
    environment = {
        "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
        "SEEN_CACHE_PASSWORD": variable,
    }

    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    if passed_on is None:
        assert ended.returncode == 1
        assert ended.stderr == "Set SEEN_CACHE_PASSWORD or SEEN_CACHE_PASSWORD_FILE in .env.\n"
    else:
        assert ended.stdout.splitlines() == [passed_on, *service["command"]]


def test_dragonfly_takes_every_flag_in_the_file(tmp_path: Path) -> None:
    binary = os.environ.get("SEEN_TEST_DRAGONFLY")
    if not binary:
        pytest.skip("SEEN_TEST_DRAGONFLY does not name a Dragonfly")
    folder = tmp_path / "data"
    folder.mkdir()
    log = tmp_path / "dragonfly.log"
    port = free_port()
    environment = {"DFLY_requirepass": "open-sesame", "REDISCLI_AUTH": "open-sesame"}
    _, *flags = SERVICES["dragonfly"]["command"]
    flags = [flag if not flag.startswith("--dir=") else f"--dir={folder}" for flag in flags]
    command = [str(Path(binary).resolve()), *flags, "--bind=127.0.0.1", f"--port={port}"]
    process = spawn(command, log=log, env={**os.environ, **environment})
    cli = shlex.join([str(BIN / "redis-cli"), "-p", str(port)])
    loaded = ["/bin/sh", "-c", f"{cli} info persistence | grep -q ^loading:0"]
    try:
        wait_ready(
            process,
            log,
            lambda: subprocess.run(loaded, env=environment, check=False).returncode == 0,
            deadline=30,
        )
    finally:
        end_process(process, grace=30)
    assert list(folder.glob("seen*")), "it saves when it ends"
