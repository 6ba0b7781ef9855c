"""What to do about a part that does not work: `seen doctor` and the page (`/v1/health`) say the same."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pytest

from cli.diagnostics import disk
from cli.diagnostics import store as store_checks
from cli.diagnostics.findings import Level
from tasks.api.readiness import Part, examine
from tests.support.servers.preloaded import run_module
from tests.support.services.system import ROOT, System
from tests.support.stores.foreign_keys import WRONG_TYPES
from tests.support.stores.server import StoreServer


def broken_parts(system: System) -> Mapping[str, Part]:
    """Return the parts that do not work, as the page gets them."""
    return {part.name: part for part in examine(system.runtime) if not part.works}


def remedies(system: System) -> Iterable[str]:
    """Return those of the checks of store and disk that found something."""
    settings = system.runtime.settings
    findings = [*store_checks.examine(settings), *disk.examine(settings)]
    return [one.remedy for one in findings if one.level is not Level.OK]


def refuse(system: System) -> None:
    system.store.refuse("OOM command not allowed when used memory > 'maxmemory'.")


def lose_the_database(system: System) -> None:
    system.runtime.database.close()
    file = system.folder / "seen.db"
    file.unlink()
    file.mkdir()


def nothing(_system: System) -> None:
    """The settings are the fault."""


#: What is broken, the settings, and the part that does not work beside beat and workers.
FAULTS: Mapping[str, tuple[Callable[[System], None], Mapping[str, str], str]] = {
    "no store": (nothing, {"SEEN_CACHE_ADDR": "127.0.0.1:9"}, "store"),
    "a store that refuses": (refuse, {}, "store"),
    "no database": (lose_the_database, {}, "database"),
    "a full disk": (nothing, {"SEEN_MIN_FREE_BYTES": str(10**18)}, "disk"),
    "a file for a folder": (nothing, {"SEEN_DOWNLOAD_DIR": "/dev/null/films"}, "disk"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_doctor_and_the_page_say_the_same(
    fault: str, tmp_path: Path, stand_in: StoreServer
) -> None:
    cause, settings, part = FAULTS[fault]
    with System(tmp_path, stand_in, settings=settings) as system:
        system.downloads.mkdir()
        cause(system)
        broken = broken_parts(system)
        assert broken.keys() - {"beat", "workers"} == {part}
        assert broken[part].remedy in remedies(system)


def test_doctor_and_the_page_say_the_same_of_processes(tmp_path: Path, store: StoreServer) -> None:
    with System(tmp_path, store) as system:
        system.downloads.mkdir()
        broken = broken_parts(system)
        done = run_module(
            "cli", ["doctor", "--json"], environment=system.environment, folder=ROOT, timeout=60
        )
    found = {one["check"]: one["remedy"] for one in json.loads(done.stdout)}
    assert broken.keys() == {"beat", "workers"}
    assert broken["beat"].remedy == found["beat"]
    kinds = ("downloads", "maintenance")
    assert broken["workers"].remedy == " ".join(found[f"workers of {kind}"] for kind in kinds)


def test_a_key_of_another_program_is_not_an_absent_store(
    tmp_path: Path, store: StoreServer
) -> None:
    with System(tmp_path, store) as system, store.client() as client:
        WRONG_TYPES["seen:download:active"](client)
        part = broken_parts(system)["store"]
    assert part.detail == "another program wrote one of its keys"
    assert "seen doctor" in part.remedy
