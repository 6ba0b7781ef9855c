"""Copies of a migrated database are what a migration makes, and each is one of its own."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from database import Database, JobRepository, migrate
from tests.support.build import new_job
from tests.support.databases import create_migrated, write_migrated
from tests.support.servers.postgres import PostgresServer


def schema(file: Path) -> list[tuple[str, ...]]:
    with closing(sqlite3.connect(file)) as connection:
        mode = connection.execute("PRAGMA journal_mode").fetchall()
        return mode + connection.execute("SELECT name, sql FROM sqlite_master").fetchall()


def test_a_copy_is_what_a_migration_makes(tmp_path: Path) -> None:
    copy, made = tmp_path / "folder" / "copy.db", tmp_path / "made.db"
    write_migrated(copy)
    with closing(Database(f"sqlite:///{made}")) as database:
        migrate.upgrade(database)
    assert schema(copy) == schema(made)
    assert copy.stat().st_mode == made.stat().st_mode


def test_what_is_migrated_has_nothing_left_to_do(migrated_url: str) -> None:
    with closing(Database(migrated_url)) as database:
        assert migrate.current(database) == migrate.HEAD
        assert migrate.upgrade(database) is False


def test_each_copy_is_one_of_its_own(postgres: PostgresServer) -> None:
    postgres.start()
    urls = [create_migrated(postgres) for _ in range(2)]
    for url in urls:
        with closing(Database(url)) as database:
            repo = JobRepository(database)
            assert repo.find(limit=5) == []
            repo.add([new_job()])
    for url in urls:
        postgres.drop_database(url)
