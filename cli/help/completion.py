"""Completion scripts for shells: commands and options as data, so that no key press starts Python."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from typer.core import TyperGroup, TyperOption

from cli.help.pages import option_value


class Shell(StrEnum):
    """Shells with completion."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


@dataclass(frozen=True, slots=True)
class _Option:
    """One option of a command."""

    names: tuple[str, ...]
    help: str
    value: str
    """The word for its value; empty for a flag."""
    choices: tuple[str, ...]

    @property
    def is_file(self) -> bool:
        """Whether its value is a file or a folder."""
        return any(word in self.value for word in ("FILE", "DIR", "PATH"))


@dataclass(frozen=True, slots=True)
class _Command:
    """One command: its words, its subcommands with their help, and its options."""

    path: str
    subcommands: Mapping[str, str]
    options: tuple[_Option, ...]


def script(shell: Shell, root: Any, ctx: Any) -> str:
    """Return the completion script of a shell.

    Args:
        shell: which one.
        root: the command of all commands.
        ctx: its context.
    """
    return _SCRIPTS[shell](list(_walk(root, ctx, "")))


def _walk(command: Any, ctx: Any, path: str) -> Iterator[_Command]:
    """Yield the commands that are not hidden."""
    subcommands = command.commands if isinstance(command, TyperGroup) else {}
    shown = {name: one for name, one in subcommands.items() if not one.hidden}
    options = tuple(
        _option(one)
        for one in command.get_params(ctx)
        if isinstance(one, TyperOption) and not one.hidden
    )
    yield _Command(path, {name: _first_line(one.help) for name, one in shown.items()}, options)
    for name, one in shown.items():
        yield from _walk(one, ctx, f"{path} {name}".strip())


def _option(option: TyperOption) -> _Option:
    choices = option.type_descriptor.choices if option.type_descriptor.is_choice else None
    return _Option(
        # Typer has the names of --help in a set.
        names=tuple(
            sorted((*option.opts, *option.secondary_opts), key=lambda name: (-len(name), name))
        ),
        help=_first_line(option.help),
        value=option_value(option),
        choices=tuple(str(getattr(one, "value", one)) for one in choices or ()),
    )


def _first_line(text: str | None) -> str:
    return (text or "").strip().partition("\n")[0]


# ── bash and zsh ────────────────────────────────────────────────────────────────────────────────

_BASH = """\
# Completion of seen for bash.
_seen() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} at= word candidates=
    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        case "${at:+$at }$word" in
            (@PATHS@) at="${at:+$at }$word" ;;
        esac
    done
    case "$at $prev" in
@VALUES@
    esac
    case "$at" in
@WORDS@
    esac
    COMPREPLY=($(compgen -W "$candidates" -- "$cur"))
}
complete -F _seen seen ./seen
"""

_ZSH = """\
#compdef seen
# Completion of seen for zsh.
_seen() {
    local prev=${words[CURRENT-1]} at= word candidates=
    for word in "${(@)words[2,CURRENT-1]}"; do
        case "${at:+$at }$word" in
            (@PATHS@) at="${at:+$at }$word" ;;
        esac
    done
    case "$at $prev" in
@VALUES@
    esac
    case "$at" in
@WORDS@
    esac
    compadd -- ${=candidates}
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then _seen "$@"; else compdef _seen seen ./seen; fi
"""

_BASH_ACTIONS = {
    "file": (
        "compopt -o filenames 2>/dev/null; local IFS=$'\\n'; "
        'COMPREPLY=($(compgen -f -- "$cur")); return'
    ),
    "choices": 'COMPREPLY=($(compgen -W "{}" -- "$cur")); return',
    "none": "COMPREPLY=(); return",
}
_ZSH_ACTIONS = {"file": "_files; return", "choices": "compadd -- {}; return", "none": "return"}


def _posix(template: str, actions: Mapping[str, str]) -> Callable[[Sequence[_Command]], str]:
    def fill(commands: Sequence[_Command]) -> str:
        paths = "|".join(shlex.quote(one.path) for one in commands if one.path)
        values = [
            f"        ({_patterns(command, option)}) {_action(option, actions)} ;;"
            for command in commands
            for option in command.options
            if option.value
        ]
        words = [
            f"        ({shlex.quote(command.path)}) candidates={shlex.quote(_words(command))} ;;"
            for command in commands
        ]
        return (
            template.replace("@PATHS@", paths)
            .replace("@VALUES@", "\n".join(values))
            .replace("@WORDS@", "\n".join(words))
        )

    return fill


def _patterns(command: _Command, option: _Option) -> str:
    return "|".join(shlex.quote(f"{command.path} {name}") for name in option.names)


def _action(option: _Option, actions: Mapping[str, str]) -> str:
    if option.choices:
        return actions["choices"].format(" ".join(option.choices))
    return actions["file" if option.is_file else "none"]


def _words(command: _Command) -> str:
    names = [name for option in command.options for name in option.names]
    return " ".join([*command.subcommands, *names])


# ── fish ────────────────────────────────────────────────────────────────────────────────────────

_FISH = """\
# Completion of seen for fish.
function __seen_at
    set -l at
    for word in (commandline -opc)[2..-1]
        switch (string join ' ' -- $at $word)
            case @PATHS@
                set -a at $word
        end
    end
    test "$at" = "$argv"
end
complete -c seen -f
"""


def _fish(commands: Sequence[_Command]) -> str:
    paths = " ".join(shlex.quote(one.path) for one in commands if one.path)
    lines = [_FISH.replace("@PATHS@", paths)]
    for command in commands:
        start = f"complete -c seen -n {_fish_quote(f'__seen_at {command.path}')}"
        for name, explanation in command.subcommands.items():
            lines.append(f"{start} -a {name} -d {_fish_quote(explanation)}")
        lines += [f"{start} {_fish_option(option)}" for option in command.options]
    return "\n".join(lines) + "\n"


def _fish_option(option: _Option) -> str:
    words = [
        f"-l {name.removeprefix('--')}" if name.startswith("--") else f"-s {name[1:]}"
        for name in option.names
    ]
    if option.choices:
        words.append(f"-x -a {_fish_quote(' '.join(option.choices))}")
    elif option.value:
        words.append("-r -F" if option.is_file else "-x")
    return " ".join([*words, f"-d {_fish_quote(option.help)}"])


def _fish_quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


_SCRIPTS: Mapping[Shell, Callable[[Sequence[_Command]], str]] = MappingProxyType(
    {
        Shell.BASH: _posix(_BASH, _BASH_ACTIONS),
        Shell.ZSH: _posix(_ZSH, _ZSH_ACTIONS),
        Shell.FISH: _fish,
    }
)
