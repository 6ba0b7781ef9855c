"""The examples of client/README.md, run one after the other as they stand there."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.clients.samples import ID, download_json
from tests.support.origins.origin import Origin
from tests.support.services.http_api import HttpApi
from worker.webhooks.signatures import new_secret, signed_headers

DOCUMENT = Path(__file__).parents[3] / "client" / "README.md"
EXAMPLE = "https://example.org/film.mkv"


def test_every_example_works(
    running_api: HttpApi, origin: Origin, capsys: pytest.CaptureFixture[str]
) -> None:
    file = origin.serve("/film.mkv", size=1000)
    text = DOCUMENT.read_text(encoding="utf-8").replace(EXAMPLE, file.url)
    names: dict[str, Any] = {"__name__": "example"}
    blocks = re.findall(r"```(\w*)\n(.*?)```", text, re.DOTALL)
    assert {language for language, _ in blocks} == {"python"}
    for _, code in blocks:
        exec(compile(code, str(DOCUMENT), "exec", dont_inherit=True), names)
    names["client"].close()
    printed = capsys.readouterr().out
    assert re.search(r"^completed [0-9a-f]{64}$", printed, re.MULTILINE)
    assert "downloads" in printed
    assert "[<Status.COMPLETED: 'completed'>, <Status.COMPLETED: 'completed'>]" in printed
    assert "invalid_input ['/url']" in printed
    assert Path("film.mkv").stat().st_size == 1000

    secret, body = new_secret(), _delivery()
    headers = signed_headers([secret], "msg_1", int(time.time()), body)
    assert names["receive"](body, headers, secret) == 204
    assert names["receive"](body + b" ", headers, secret) == 400


def _delivery() -> bytes:
    content = {"type": "download.completed", "timestamp": "2026-01-01T00:00:00+00:00"}
    return json.dumps({**content, "data": download_json(id=ID)}).encode()
