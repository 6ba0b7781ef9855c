"""No command ends in a traceback, whatever its environment is, and each error is a sentence."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.inputs.commands import ARGUMENTS, names
from tests.support.inputs.environments import ENVIRONMENTS, HELP
from tests.support.services.command_matrix import CommandMatrix, JobsTemplate
from tests.support.stores.server import StoreServer


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> JobsTemplate:
    return JobsTemplate(tmp_path_factory.mktemp("template"))


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that other users may enter, other than pytest's."""
    path = Path(tempfile.mkdtemp(prefix="seen-environment-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def test_every_command_is_in_the_matrix() -> None:
    assert names() == sorted(ARGUMENTS), "ARGUMENTS needs the same commands as the program"


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_commands_work_or_say_what_is_wrong(
    folder: Path, template: JobsTemplate, store: StoreServer, name: str
) -> None:
    environment = ENVIRONMENTS[name]
    if environment.needs_root and os.geteuid() != 0:
        pytest.skip("only the superuser can become another user")
    login = {"SEEN_CACHE_ADDR": store.addr, "SEEN_CACHE_PASSWORD": store.password}
    with CommandMatrix(folder, template, **login) as matrix:
        matrix.set_variables(environment.variables)
        with environment.prepare(matrix.data_dir):
            results = matrix.check_all(environment.changes, {0, *environment.statuses})
        for call, result in results.items():
            if call in HELP and result.status != 0:
                matrix.note([call], result, "help does not need this")
            if result.status in {1, 2} and environment.says not in result.err + result.out:
                matrix.note([call], result, f"it does not mention {environment.says}")
    assert matrix.faults == []
