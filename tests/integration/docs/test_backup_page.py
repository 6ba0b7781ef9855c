"""The commands of docs/operations/backup.md, as they stand there."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest

from cache import CacheManager
from database import Database, JobRepository, migrate
from domain.job import Job
from tests.support.build import new_job, progress
from tests.support.servers.postgres import ADMIN, PostgresServer
from tests.support.servers.preloaded import run_module
from tests.support.services.compose import SERVICES
from tests.support.stores.server import StoreServer

ROOT = Path(__file__).parents[3]
DOCUMENT = ROOT / "docs" / "operations" / "backup.md"
SECTIONS = ("SQLite", "PostgreSQL")


def blocks(section: str) -> list[list[str]]:
    """The commands of a section, block by block: the first one backs up, the others restore."""
    text = DOCUMENT.read_text(encoding="utf-8")
    match = re.search(rf"\n## {section}\n(.*?)\n## ", text, re.DOTALL)
    assert match is not None, section
    return [block.splitlines() for block in re.findall(r"```sh\n(.*?)```", match[1], re.DOTALL)]


@dataclass
class Operator:
    """A shell in a folder: it runs `docker compose exec` and `run` as commands of this machine."""

    folder: Path
    environment: dict[str, str]
    stopped: set[str] = field(default_factory=set)

    def run(self, line: str) -> None:
        words = [
            word.replace("$SEEN_DATA_DIR", self.environment["SEEN_DATA_DIR"])
            for word in shlex.split(line)
        ]
        if words[:2] == ["docker", "compose"]:
            self._compose(words[2], words[3:])
        else:
            self._command(words)

    def _compose(self, verb: str, words: list[str]) -> None:
        match verb, words:
            case "exec", ["-T", "postgres", *command]:
                self._command(command)
            case "run", ["--rm", "--no-deps", service, *command]:
                self._command(command or SERVICES[service]["command"])
            case "stop", services:
                assert services
                self.stopped |= set(services)
            case "up", ["-d"]:
                self.stopped.clear()
            case _:
                pytest.fail(f"docker compose {verb} {words}")
        assert self.stopped <= SERVICES.keys()

    def _command(self, words: list[str]) -> None:
        source, target = None, None
        if words[-2] == "<":
            *words, _, source = words
        elif words[-2] == ">":
            *words, _, target = words
        if words[0] == "seen":
            assert source is target is None
            ended = run_module(
                "cli", words[1:], environment=self.environment, folder=self.folder, timeout=60
            )
            assert ended.returncode == 0, ended.stderr
            return
        with ExitStack() as files:
            subprocess.run(
                words,
                cwd=self.folder,
                env=self.environment,
                stdin=files.enter_context((self.folder / (source or os.devnull)).open()),
                stdout=files.enter_context((self.folder / (target or os.devnull)).open("w")),
                check=True,
                timeout=60,
            )


@pytest.fixture
def seen_database(postgres: PostgresServer) -> Iterator[str]:
    """A database as Compose's PostgreSQL has it: its superuser and its name are `seen`."""
    postgres.start()
    admin = psycopg.connect(
        host=postgres.url().partition("host=")[2], user=ADMIN, dbname=ADMIN, autocommit=True
    )
    with admin:
        admin.execute("CREATE ROLE seen SUPERUSER LOGIN")
        admin.execute("CREATE DATABASE seen OWNER seen")
        yield postgres.url("seen").replace(f"{ADMIN}@", "seen@")
        admin.execute("DROP DATABASE IF EXISTS seen WITH (FORCE)")
        admin.execute("DROP ROLE seen")
    admin.close()


@pytest.fixture(params=SECTIONS)
def section(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def url(section: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if section == "SQLite":
        return f"sqlite:///{tmp_path / 'data' / 'seen.db'}"
    found: str = request.getfixturevalue("seen_database")
    return found


@pytest.fixture
def operator(
    url: str, tmp_path: Path, store: StoreServer, manager: CacheManager, postgres: PostgresServer
) -> Operator:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "secret.key").write_text("the first key of all\n")
    environment = {
        **os.environ,
        "PATH": f"{postgres.programs}{os.pathsep}{os.environ['PATH']}",
        "PGHOST": postgres.url().partition("host=")[2],
        "PYTHONPATH": str(ROOT),
        "SEEN_CACHE_ADDR": store.addr,
        "SEEN_CACHE_PASSWORD": store.password,
        "SEEN_DATA_DIR": str(tmp_path / "data"),
        "SEEN_DATABASE_URL": url,
    }
    return Operator(tmp_path, environment)


def stored(url: str, *added: Job) -> set[str]:
    """Add jobs to the database; return the ids of all."""
    database = Database(url)
    try:
        migrate.upgrade(database)
        jobs = JobRepository(database)
        jobs.add(added)
        return {job.id for job in jobs.find(limit=100)}
    finally:
        database.close()


def test_what_was_backed_up_is_there_again(
    section: str, url: str, operator: Operator, manager: CacheManager, tmp_path: Path
) -> None:
    jobs = [new_job(url=f"https://example.org/{number}") for number in range(3)]
    before = stored(url, *jobs)
    backing_up, *restoring = blocks(section)
    assert restoring

    for line in backing_up:
        operator.run(line)
    later = new_job(url="https://example.org/later")
    assert stored(url, later) == before | {later.id}
    manager.download.set_progress(progress(later.id))
    (tmp_path / "data" / "secret.key").unlink()
    for line in (line for block in restoring for line in block):
        operator.run(line)

    assert stored(url) == before
    assert manager.download.get_progress(later.id) is None, "the store knew more than the database"
    assert not operator.stopped, "all that was stopped runs again"
    if section == "SQLite":
        assert (tmp_path / "data" / "secret.key").read_text() == "the first key of all\n"
    # Numbers that the database gives out go on after the highest one.
    again = new_job(url="https://example.org/again")
    assert stored(url, again) == before | {again.id}


def test_the_dump_can_be_listed(
    seen_database: str, postgres: PostgresServer, tmp_path: Path
) -> None:
    """As the page advises."""
    stored(seen_database, new_job())
    environment = {**os.environ, "PGHOST": postgres.url().partition("host=")[2]}
    dump, programs = tmp_path / "dump", postgres.programs
    with dump.open("w") as file:
        command = [str(programs / "pg_dump"), "-U", "seen", "-Fc", "seen"]
        subprocess.run(command, env=environment, stdout=file, check=True)

    listed = subprocess.run(
        [programs / "pg_restore", "--list", dump], capture_output=True, text=True, check=True
    )

    assert "TABLE DATA public jobs" in listed.stdout


def test_the_page_on_upgrading_names_this_releases_revision() -> None:
    text = (DOCUMENT.parent / "upgrading.md").read_text(encoding="utf-8")

    assert f"| this one | {migrate.HEAD} | 0006 |" in text
    assert "seen db downgrade 0006" in text
