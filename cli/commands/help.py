"""`seen help`: the help page of a command."""

from __future__ import annotations

from typing import Annotated

import typer


def help_page(
    ctx: typer.Context,
    words: Annotated[
        list[str] | None, typer.Argument(metavar="COMMAND", help="The command; else all.")
    ] = None,
) -> None:
    """Show the help of a command: `seen help cache stats`."""
    root = ctx.find_root().command
    root.main([*(words or []), "--help"], prog_name="seen", standalone_mode=False)
