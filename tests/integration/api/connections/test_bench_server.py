"""How the measurements of the API start it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bench.http.served import wait_until_it_answers
from tests.support.servers.process import ServerError, free_port, spawn
from tests.support.services.system import ROOT


def test_an_api_that_ends_before_it_answers_is_reported_with_its_log(tmp_path: Path) -> None:
    log = tmp_path / "api.log"
    program = "import sys; sys.exit('seen: SEEN_API_PORT: the port is taken')"
    process = spawn([sys.executable, "-c", program], log=log, env={}, cwd=ROOT)
    with pytest.raises(ServerError, match=r"status 1[\s\S]*SEEN_API_PORT: the port is taken"):
        wait_until_it_answers(process, f"http://127.0.0.1:{free_port()}", log)
