"""No command ends in a traceback when its standard streams are closed, full, or without a reader."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.inputs.commands import FAILING, URL
from tests.support.services.command_matrix import CommandMatrix, JobsTemplate
from tests.support.stores.server import StoreServer

#: They become or start services, whose output is a log.
SERVICES = {"up", "worker", "beat", "flower", "api", f"get {URL}"}
BROKEN_PIPE = 141


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> JobsTemplate:
    return JobsTemplate(tmp_path_factory.mktemp("template"))


@pytest.fixture
def matrix(tmp_path: Path, template: JobsTemplate, store: StoreServer) -> Iterator[CommandMatrix]:
    login = {"SEEN_CACHE_ADDR": store.addr, "SEEN_CACHE_PASSWORD": store.password}
    with CommandMatrix(tmp_path, template, **login) as matrix:
        yield matrix


@pytest.mark.parametrize(
    "change", ["stdin closed", "stderr closed", "stderr full", "stderr without a reader"]
)
def test_commands_work_without_standard_input_and_standard_error(
    matrix: CommandMatrix, change: str
) -> None:
    results = matrix.check_all([change], allowed={0, 130})
    assert matrix.faults == []
    assert {name for name, result in results.items() if not result.out} == SERVICES


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ("stdout closed", 1),
        ("stdout full", 1),
        ("stdout without a reader", BROKEN_PIPE),
        ("all streams closed", 1),
        ("stdout and stderr full", 1),
    ],
)
def test_commands_fail_whose_output_is_lost(
    matrix: CommandMatrix, change: str, status: int
) -> None:
    results = matrix.check_all([change], allowed={0, 130, status})
    assert matrix.faults == []
    assert {name for name, result in results.items() if result.status == 0} == SERVICES
    assert matrix.good("list", "--json").json(), "it works again"


@pytest.mark.parametrize(
    "change", ["stdin closed", "stdout closed", "stdout full", "all streams closed"]
)
def test_failures_keep_their_status(matrix: CommandMatrix, change: str) -> None:
    for call, status in FAILING:
        result = matrix.call(call, [change])
        if result.status != status:
            matrix.note(call, result, f"the status is not {status}")
    assert matrix.faults == []


def test_accepted_downloads_are_named_when_their_ids_cannot_be_printed(
    matrix: CommandMatrix,
) -> None:
    before = len(matrix.good("list", "--json").json())
    for number, change in enumerate(("stdout full", "stdout closed", "stdout without a reader")):
        url = f"http://127.0.0.1:9/{number}"
        result = matrix.run("add", url, changes=[change])
        assert result.status in {1, BROKEN_PIPE}
        (job,) = [one for one in matrix.good("list", "--json").json() if one["url"] == url]
        assert "accepted" in result.error_line()
        assert job["id"] in result.error_line()
    assert len(matrix.good("list", "--json").json()) == before + 3
