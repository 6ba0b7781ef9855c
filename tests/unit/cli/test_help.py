"""Help pages: every command and option is explained, in words, within 80 columns."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.core import TyperGroup

from cli.help.layout import definitions
from cli.main import app, run
from seen_local.version import version

ROOT = typer.main.get_command(app)


def _walk(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield words, command
    for name, one in getattr(command, "commands", {}).items():
        yield from _walk(one, (*words, name))


COMMANDS = dict(_walk(ROOT))
#: What Typer prints by itself: names of types, and of the fallback for values.
NOISE = ("<", "Annotated", "VALUE\n", " VALUE ", "[x>=", "}...", "[required]")
GROUPS = [words for words, command in COMMANDS.items() if isinstance(command, TyperGroup)]


def _page(*arguments: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert run(arguments) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    return printed.out


@pytest.mark.parametrize("columns", [40, 200])
@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_help_page_is_complete_and_fits(
    words: tuple[str, ...],
    columns: int,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    page = _page(*words, "--help", capsys=capsys)

    # One long word, such as a URL, may need more than 40 columns.
    assert max(map(len, page.splitlines())) <= max(56, min(columns, 80)), page
    assert not [noise for noise in NOISE if noise in page], page
    command = COMMANDS[words]
    assert command.help
    assert command.help.strip().endswith((".", "`"))
    for parameter in command.params:
        if parameter.hidden:
            assert all(name not in page.split() for name in parameter.opts)
            continue
        assert parameter.help, f"{words}: {parameter.name} has no help"
        assert parameter.help.endswith("."), parameter.help
        for name in parameter.opts:
            if name.startswith("--") and not parameter.secondary_opts:
                assert name in page
    for name, one in getattr(command, "commands", {}).items():
        assert one.hidden or f"\n  {name} " in page


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_all_ways_to_ask_for_help_print_the_same_page(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    page = _page(*words, "--help", capsys=capsys)
    assert _page(*words, "-h", capsys=capsys) == page
    assert _page("help", *words, capsys=capsys) == page
    if words in GROUPS:
        assert _page(*words, capsys=capsys) == page


@pytest.mark.parametrize("option", ["--version", "-V"])
def test_the_version_is_printed(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert _page(option, capsys=capsys) == f"seen {version()}\n"
    assert version()[0].isdigit()


@pytest.mark.parametrize("words", ["get", "add", "list"])
def test_frequent_commands_have_examples(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "\nExamples:\n  seen " in _page(words, "-h", capsys=capsys)


def test_a_long_name_has_a_line_of_its_own() -> None:
    assert definitions([("--short", "a"), ("--" + "x" * 30, "b c")], 40) == [
        "  --short  a",
        "  --" + "x" * 30,
        "           b c",
    ]


def test_headings_are_bold_on_a_terminal_only(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "\x1b" not in _page("-h", capsys=capsys)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert "\x1b[1mJobs:\x1b[0m\n" in _page("-h", capsys=capsys)
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in _page("-h", capsys=capsys)


# ── mistyped names ──────────────────────────────────────────────────────────────────────────────

#: What is typed, and what is suggested: nothing where nothing is near.
COMMAND_TYPOS = {
    "lst": ["seen list"],
    "gett": ["seen get"],
    "shwo": ["seen show"],
    "canel": ["seen cancel"],
    "pasue": ["seen pause"],
    "retyr": ["seen retry"],
    "wacth": ["seen watch"],
    "dcotor": ["seen doctor"],
    "LIST": ["seen list"],
    "work": ["seen worker"],
    "dead": ["seen dead-letters"],
    "cach": ["seen cache"],
    "cach stats": ["seen cache stats"],
    "cache statt": ["seen cache stats"],
    "cache upgrade": ["seen db upgrade"],
    "cache forget": ["seen cache forget-user", "seen cache forget-title", "seen cache forget-keys"],
    "db purg": ["seen db purge"],
    "dead-letters ls": ["seen dead-letters list"],
    "statistics": ["seen cache stats"],
    "stats": ["seen cache stats"],
    "upgrade": ["seen db upgrade"],
    "purge": ["seen db purge"],
    "clear": ["seen webhook clear", "seen dead-letters clear"],
    "ls": ["seen list"],
    "ps": ["seen list"],
    "status": ["seen list"],
    "stop": ["seen pause", "seen cancel"],
    "start": ["seen up", "seen resume"],
    "download": ["seen get"],
    "migrate": ["seen db upgrade"],
    "version": ["seen --version"],
    "xyzzy": [],
    "": [],
    "é": [],
    "\x1b[31m": [],
    "%s": [],
}

OPTION_TYPOS = {
    "get --outptu x": ["--output"],
    "get --out x": ["--output"],
    "get --dir x": ["--output"],
    "get --sha265 x": ["--sha256"],
    "get --retries 3": ["--attempts"],
    "get --threads 3": ["--connections", "--jobs"],
    "get --parallel 3": ["--jobs"],
    "get --rate 1M": ["--limit-rate"],
    "get --silent": ["--quiet"],
    "get --skip-checksum": ["--no-origin-checksum"],
    "rm --with-file x": ["--file"],
    "logs --tail": ["--follow", "--lines"],
    "get --timeout 3": ["--max-time"],
    "get --logn x": [],  # --login is hidden
    "list --statu x": ["--status"],
    "list --state x": ["--status"],
    "list --max 3": ["--limit"],
    "up --no-flowe": ["--no-flower"],
    "db purge --days 3": ["--older-than"],
    "cache stats --jsn": ["--json"],
    "show --xyzzy": [],
    "show -x": [],
    "--versoin": ["--version"],
}


@pytest.mark.parametrize("typed", COMMAND_TYPOS)
def test_an_unknown_command_names_the_nearest_ones(
    typed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = typed.split(" ")
    _check(arguments, COMMAND_TYPOS[typed], capsys)


@pytest.mark.parametrize("typed", OPTION_TYPOS)
def test_an_unknown_option_names_the_nearest_one(
    typed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _check(typed.split(), OPTION_TYPOS[typed], capsys)


def _check(arguments: list[str], suggested: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    (line,) = printed.err.splitlines()
    assert line.startswith("seen: There is no ")
    assert line.isprintable()
    question = " or ".join(f"`{one}`" for one in suggested)
    assert (f" Did you mean {question}? See `seen" in line) == bool(suggested), line
    assert bool(suggested) == ("Did you mean" in line), line


@pytest.mark.parametrize(
    ("typed", "right"),
    [
        ("--json list", "seen list --json"),
        ("-q get https://a.example/b", "seen get -q"),
        ("cache --scan 5 stats", "seen cache stats --scan"),
    ],
)
def test_an_option_before_its_command_is_said_to_belong_behind_it(
    typed: str, right: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(typed.split()) == 2
    printed = capsys.readouterr()
    assert f"belongs behind its command: `{right}`." in printed.out + printed.err


def test_a_url_instead_of_a_command_is_for_get(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["https://example.org/a b?x=1&y=2"]) == 2
    assert "`seen get 'https://example.org/a b?x=1&y=2'`" in capsys.readouterr().err


def test_an_unknown_command_is_json_where_that_is_wanted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["ls", "--json"]) == 2
    assert '"code": "usage"' in capsys.readouterr().out
