"""Completion scripts: what bash completes, and that every script has all commands and options."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import typer
from typer.core import TyperOption

from cli.help.completion import Shell
from cli.help.pages import command_paths
from cli.main import app, run

#: What is typed, the word to complete being the last one, and what bash offers.
TYPED = {
    "seen li": "list limit",
    "seen cache ": "stats forget-user forget-title forget-keys --help -h",
    "seen db pu": "purge",
    "seen list --st": "--status",
    "seen list --status fa": "failed",
    "seen get --priority ": "high normal low",
    "seen get -q --priority h": "high",
    "seen up --no-f": "--no-flower",
    "seen add https://a.example/b --dir": "--directory",
    "seen cache stats --j": "--json",
    "seen list --limit ": "",
    "seen get -o fol": "folder",
    "seen xyzzy list --st": "--status",
}


def _script(shell: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert run(["completion", shell]) == 0
    return capsys.readouterr().out


def test_bash_completes_commands_options_and_values(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "folder").mkdir()
    calls = "\n".join(f"complete_line '{line}'" for line in TYPED)
    code = f"""{_script("bash", capsys)}
complete_line() {{
    IFS=' ' read -r -a COMP_WORDS <<< "$1"
    [[ $1 == *' ' ]] && COMP_WORDS+=('')
    COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
    COMPREPLY=()
    _seen
    echo "${{COMPREPLY[*]}}"
}}
{calls}
"""
    done = subprocess.run(
        ["bash", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert dict(zip(TYPED, done.stdout.split("\n"), strict=False)) == TYPED
    assert done.stderr == ""


@pytest.mark.parametrize("shell", Shell)
def test_every_script_has_all_commands_and_options(
    shell: Shell, capsys: pytest.CaptureFixture[str]
) -> None:
    text = _script(shell, capsys)
    root = typer.main.get_command(app)
    paths = list(command_paths(root))
    assert not [path for path in paths if " ".join(path) not in text]
    for name in ("ignore-origin-digests", "login", "Traceback", "<"):  # hidden, or noise
        assert f"--{name}" not in text
        assert f"-l {name}" not in text
    for parameter in root.commands["get"].params:  # type: ignore[attr-defined]
        if isinstance(parameter, TyperOption) and not parameter.hidden:
            for name in parameter.opts:
                fish = f"-l {name[2:]} " if name.startswith("--") else f"-s {name[1:]} "
                assert (fish if shell is Shell.FISH else name) in text


def test_an_unknown_shell_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["completion", "tcsh"]) == 2
    assert "'bash', 'zsh'" in capsys.readouterr().err
