"""The examples of docs/api.md, run one after the other as they stand there; their downloads run, too."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from api.events import stream
from tests.support.origins.origin import Origin
from tests.support.services.http_api import HttpApi

DOCUMENT = Path(__file__).parents[3] / "docs" / "api.md"
EXAMPLE = "https://example.org/film.mkv"
#: Language and code of each block; later ones use what earlier ones did.
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)


def test_every_example_works(
    running_api: HttpApi,
    origin: Origin,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # curl notices by the next line that `head` has gone.
    monkeypatch.setattr(stream, "HEARTBEAT", 0.2)
    file = origin.serve("/film.mkv", size=1000)
    names: dict[str, Any] = {"__name__": "example"}
    printed = ""
    for language, code in BLOCKS:
        example = code.replace(EXAMPLE, file.url)
        if language == "python":
            exec(compile(example, f"{DOCUMENT.name}: {code}", "exec", dont_inherit=True), names)
        elif language == "bash":
            printed += _run(example)
    names["seen"].close()
    names["client"].close()
    printed += capsys.readouterr().out
    assert '"status":"completed"' in printed
    assert len(re.findall("^completed$", printed, re.MULTILINE)) == 2
    assert len(re.findall(r"^[1-9] downloads$", printed, re.MULTILINE)) == 4
    assert Path("first.bin").stat().st_size == 100
    assert Path("film.mkv").stat().st_size == 1000
    assert any(running_api.system.downloads.rglob("film*.mkv"))


def _run(code: str) -> str:
    ended = subprocess.run(
        ["bash", "-euc", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 0, f"{code}\n{ended.stdout}{ended.stderr}"
    return ended.stdout


def test_every_example_of_curl_is_one_of_python_too() -> None:
    languages = [language for language, _ in BLOCKS]
    assert set(languages) == {"bash", "python", "json"}
    for number, language in enumerate(languages):
        if language == "bash":
            assert languages[number + 1] == "python", BLOCKS[number][1]


def test_the_problem_is_what_the_api_answers(running_api: HttpApi) -> None:
    (text,) = (code for language, code in BLOCKS if language == "json")
    answer = running_api.client("root").post("/v1/downloads", json={"url": "example.org"})
    assert answer.headers["content-type"] == "application/problem+json"
    shown, actual = json.loads(text), answer.json()
    of_python = {"title": None, "errors": None}  # each of its versions has titles of its own
    assert {**shown, **of_python} == {**actual, **of_python}
    assert [one["pointer"] for one in shown["errors"]] == [
        one["pointer"] for one in actual["errors"]
    ]
