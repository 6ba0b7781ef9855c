"""The commands of docs/cache-operations.md, as they stand there."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cache import CacheManager, UserData
from tests.support.build import progress
from tests.support.servers.preloaded import run_module
from tests.support.stores.server import HOST, StoreServer

ROOT = Path(__file__).parents[3]
DOCUMENT = ROOT / "docs" / "cache-operations.md"


def commands() -> list[list[str]]:
    """Every command in the document's shell blocks."""
    blocks = re.findall(r"```sh\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    # One command may go over several lines inside its quotes.
    words = [shlex.split(line, comments=True) for line in _lines("\n".join(blocks))]
    return [one for one in words if one]


def _lines(text: str) -> list[str]:
    lines: list[str] = []
    for line in text.splitlines():
        if lines and lines[-1].count('"') % 2:
            lines[-1] += f"\n{line}"
        else:
            lines.append(line)
    return lines


@pytest.fixture
def environment(store: StoreServer, manager: CacheManager, tmp_path: Path) -> dict[str, str]:
    """That of an operator whose store holds a little of everything."""
    manager.session.set_user(UserData(id="user-456", email="ada@example.com"))
    manager.session.rate_limit_check("user-456", "api-request", 100)
    manager.catalog.dashboard("user-456", dict).set({"title": "x"}, titles=["title-1"])
    manager.download.set_progress(progress("JOB", user_id="user-456"))
    manager.beat.tick("host:1")
    return {
        **os.environ,
        "SEEN_CACHE_ADDR": store.addr,
        "SEEN_CACHE_PASSWORD": store.password,
        "SEEN_DATA_DIR": str(tmp_path),
        "REDISCLI_AUTH": store.password,
        "PYTHONPATH": str(ROOT),
    }


def run(words: list[str], store: StoreServer, environment: dict[str, str]) -> str:
    """Run one command of the document and return what it prints."""
    program, *arguments = words
    if program == "seen":
        ended = seen(arguments, environment)
    elif program == "redis-cli":
        cli = shutil.which("redis-cli") or shutil.which("valkey-cli")
        if cli is None:
            (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("redis-cli is missing")
        ended = start([cli, "-h", HOST, "-p", str(store.port), *arguments], environment)
    else:
        ended = start([sys.executable, *arguments], environment)
    # The doctor of a system without workers has something to complain about.
    assert ended.returncode == 0 or words[:2] == ["seen", "doctor"], ended.stderr
    assert "ERR" not in ended.stdout, ended.stdout
    assert "Traceback" not in ended.stderr, ended.stderr
    return ended.stdout


def seen(arguments: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return run_module("cli", arguments, environment=environment, folder=ROOT, timeout=60)


def start(command: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_a_command_runs(words: list[str], store: StoreServer, environment: dict[str, str]) -> None:
    run(words, store, environment)


def test_commands_show_what_the_document_says(
    store: StoreServer, environment: dict[str, str]
) -> None:
    def shown(text: str) -> str:
        (words,) = [one for one in commands() if " ".join(one).startswith(text)]
        return run(words, store, environment)

    assert "user 2" in shown("seen cache stats")
    assert "ada@example.com" not in shown("python -c")  # a profile hides itself, too
    assert "role='user'" in shown("python -c")
    assert 0 < int(shown("redis-cli TTL seen:user")) <= 900
    assert int(shown("redis-cli MEMORY USAGE")) > 100
    assert shown("redis-cli LLEN").strip() == "1"
    assert "downloading" in shown("redis-cli HGETALL seen:download")
    assert "host:1" in shown("redis-cli HGETALL seen:beat")
    assert shown("redis-cli ZREVRANGE seen:download").startswith("JOB")
    assert shown("seen cache forget-title").strip() == "1 deleted"
    assert "profile 1" in shown("seen cache forget-user")


def test_forgetting_can_print_json(store: StoreServer, environment: dict[str, str]) -> None:
    removed = run(["seen", "cache", "forget-user", "user-456", "--json"], store, environment)
    assert '"profile": 1' in removed
    assert '"deleted": 0' in run(
        ["seen", "cache", "forget-keys", "seen:catalog:dashboard:*", "--json"], store, environment
    )


def test_a_pattern_outside_the_namespace_is_refused(environment: dict[str, str]) -> None:
    ended = seen(["cache", "forget-keys", "*"], environment)
    assert ended.returncode == 2
    assert "must begin with 'seen:'" in ended.stderr
