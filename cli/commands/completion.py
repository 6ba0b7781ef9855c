"""`seen completion`: the completion script of a shell."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.help.completion import Shell, script

EXAMPLES = """
Examples:
  seen completion bash > ~/.local/share/bash-completion/completions/seen
  seen completion zsh > "${fpath[1]}/_seen"
  seen completion fish > ~/.config/fish/completions/seen.fish
"""


def completion(
    ctx: typer.Context,
    shell: Annotated[Shell, typer.Argument(metavar="SHELL", help="bash, zsh or fish.")],
) -> None:
    """Print a script that completes commands and options in a shell."""
    root = ctx.find_root()
    print(script(shell, root.command, root), end="")
