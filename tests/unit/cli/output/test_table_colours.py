"""Tables have the terminal's own colours, or no styles at all."""

from __future__ import annotations

import re

import pytest

from cli.output.tables import print_list
from domain.job import JobStatus
from tasks import JobView
from tests.support.inputs.job_views import job


@pytest.mark.parametrize(
    ("variables", "styles"),
    [
        ({}, set()),
        ({"FORCE_COLOR": "1"}, {"0", "1", "2", "31"}),
        ({"CLICOLOR_FORCE": "1"}, {"0", "1", "2", "31"}),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, set()),
        ({"FORCE_COLOR": "0"}, set()),
    ],
)
def test_table_in_a_pipe(
    variables: dict[str, str],
    styles: set[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    view = JobView.merge(job(JobStatus.FAILED, reason="It broke."), None)
    print_list([view], {view.job.id: view.job.id})
    out = capsys.readouterr().out
    assert "failed" in out
    assert {one or "0" for one in re.findall(r"\x1b\[([0-9;]*)m", out)} == styles
