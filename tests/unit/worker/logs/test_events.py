"""Each log call of the service has an event with a stable name, and names for its values."""

from __future__ import annotations

import ast
import re
import string
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from worker.logs.events import EVENTS

ROOT = Path(__file__).parents[4]
_METHODS = frozenset({"debug", "info", "warning", "error", "exception", "critical", "log"})
_PLACE = re.compile(r"%[^a-zA-Z%]*[a-zA-Z]")
_NAME = re.compile(r"[a-z_]+\.[a-z_{}]+")


class Call(NamedTuple):
    """A log call of the product."""

    place: str
    text: str | None
    """None for one that is not a literal."""
    event: str | None
    """From its `extra`."""


def _calls() -> Iterator[Call]:
    packages = ("api", "cache", "cli", "database", "domain", "seen_local", "tasks", "worker")
    files = [path for one in packages for path in (ROOT / one).rglob("*.py")]
    for path in [*files, ROOT / "settings.py"]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and _is_log_call(node.func):
                yield _call(path, node)


def _is_log_call(function: ast.expr) -> bool:
    if isinstance(function, ast.Name):  # log = logger.info if … else logger.warning
        return function.id == "log"
    if not isinstance(function, ast.Attribute) or function.attr not in _METHODS:
        return False
    owner = ast.unparse(function.value).rpartition(".")[2]
    return owner in {"logger", "_logger", "log"} and "math" not in ast.unparse(function.value)


def _call(path: Path, node: ast.Call) -> Call:
    texts = [one.value for one in node.args[:2] if isinstance(one, ast.Constant)]
    text = next((one for one in texts if isinstance(one, str)), None)
    extra = next((ast.unparse(one.value) for one in node.keywords if one.arg == "extra"), "")
    source = path.read_text()
    if extra.isidentifier():  # a dictionary made before the call
        found = re.search(rf"\b{extra} = (\{{.*?\}})", source, re.DOTALL)
        extra = found[1] if found else ""
    named = re.search(r"""['"]event['"]: ['"]?([\w.]+)""", extra)
    return Call(f"{path.relative_to(ROOT)}:{node.lineno}", text, named[1] if named else None)


CALLS = [call for call in _calls() if "logs/streams.py" not in call.place]


def test_log_calls_are_found() -> None:
    assert len(CALLS) > 80


def test_each_log_call_has_an_event() -> None:
    missing = [call for call in CALLS if call.event is None and call.text not in EVENTS]
    assert not missing, (
        "Add the texts of these log calls to EVENTS in worker/logs/events.py, with a name such as "
        "'download.not_started' and the names of their arguments:\n"
        + "\n".join(f"{one.place}: {one.text!r}" for one in missing)
    )


def test_no_event_is_left_of_a_former_text() -> None:
    assert EVENTS.keys() - {call.text for call in CALLS} == set()


def test_events_name_each_value_once() -> None:
    for text, (event, *names) in EVENTS.items():
        assert len(_PLACE.findall(text.replace("%%", ""))) == len(names), text
        assert _NAME.fullmatch(event), event
        used = {field for _, field, _, _ in string.Formatter().parse(event) if field}
        assert used <= set(names), event
        given = [name for name in names if name]
        assert len(given) == len(set(given)), text


def test_documents_list_each_event() -> None:
    document = (ROOT / "docs/operations/logging.md").read_text()
    names = {event for event, *_ in EVENTS.values()} | {one.event for one in CALLS if one.event}
    families = {name.partition(".")[0] for name in names if "." in name}
    missing = {one for one in families if f"`{one}." not in document}
    assert not missing
