"""`seen dead-letters`: messages that no worker could read; looking at them, and clearing them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

import settings as settings_module
from cli.local_stack.client import use_running_stack
from cli.output import formatting

if TYPE_CHECKING:  # loaded where it is needed: `seen --help` waits for none of it
    from worker.broker.client import Broker

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

app = typer.Typer(
    help="Messages that no worker could read: which they are, and clearing them.",
    no_args_is_help=True,
)


@app.command("list")
def list_dead_letters(as_json: AsJson = False) -> None:
    """Show the refused messages that are kept, the newest first, and why each was refused."""
    with _broker() as broker:
        letters = broker.dead_letters()
    if as_json:
        formatting.print_json([letter.as_json() for letter in letters])
        return
    for letter in letters:
        when = "at an unknown time" if letter.at is None else formatting.moment(letter.at)
        print(f"{when}  {letter.queue}  {formatting.size(letter.size)}: {letter.reason}")
        print(f"    {letter.message}")
    if not letters:
        print("No message was refused.")


@app.command()
def clear(as_json: AsJson = False) -> None:
    """Remove all of them. No job is lost by it: jobs are in the database and are published again."""
    with _broker() as broker:
        removed = broker.clear_dead_letters()
    if as_json:
        formatting.print_json({"removed": removed})
    else:
        print(f"{removed:,} removed")


@contextmanager
def _broker() -> Iterator[Broker]:
    use_running_stack()
    settings = settings_module.load()
    # Ours, before Celery looks for a module of that name in the person's current folder.
    import celeryconfig  # noqa: F401
    from worker.app import app as celery_app
    from worker.broker.client import Broker

    with closing(Broker(celery_app, timeout=settings.cache_timeout)) as broker:
        yield broker
