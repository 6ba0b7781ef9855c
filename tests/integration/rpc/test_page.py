"""docs/aria2.md has the methods and options that there are, and its example works."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from api.rpc.methods import METHODS, Method
from api.rpc.options import IGNORED, OPTIONS, REFUSED
from tests.support.aria2 import rpc
from tests.support.services.http_api import HttpApi

PAGE = Path(__file__).resolve().parents[3] / "docs" / "aria2.md"


def methods_table() -> Iterator[str]:
    yield "| method | supported | scope | difference |"
    yield "|---|---|---|---|"
    for name, method in METHODS.items():
        supported = "yes" if method.is_supported else "no"
        scope = "no token" if method.scope is None else method.scope.value
        yield f"| `{_call(name, method)}` | {supported} | {scope} | {method.difference} |"


def _call(name: str, method: Method) -> str:
    return f"{name}({', '.join(one.shown for one in method.parameters)})"


def options_table() -> Iterator[str]:
    yield "| option of `aria2.addUri` | here |"
    yield "|---|---|"
    yield from (f"| `{name}` | {option.meaning} |" for name, option in OPTIONS.items())


def refused_table() -> Iterator[str]:
    yield "| refused option | unless it is | why |"
    yield "|---|---|---|"
    for name, (harmless, why) in REFUSED.items():
        shown = " or ".join(f"`{one}`" if one else "empty" for one in sorted(harmless))
        yield f"| `{name}` | {shown} | {why} |"


def ignored_names() -> str:
    return ", ".join(f"`{name}`" for name in sorted(IGNORED))


def test_the_page_has_the_tables() -> None:
    text = PAGE.read_text()
    for table in (methods_table(), options_table(), refused_table()):
        assert "\n" + "\n".join(table) + "\n" in text
    assert ignored_names() in text


def test_the_example_adds_a_download(api: HttpApi) -> None:
    (command,) = re.findall(r"```bash\n(.*?)```", PAGE.read_text(), re.DOTALL)
    environment = {**os.environ, "SEEN_URL": api.url, "SEEN_KEY": api.keys["ada"]}
    done = subprocess.run(
        ["bash", "-c", command], env=environment, capture_output=True, text=True, check=True
    )
    assert '"result":' in done.stdout
    (waiting,) = rpc(api, "ada").call("tellWaiting", 0, 10, ["dir"])
    assert waiting == {"dir": str(api.system.downloads / "films")}
