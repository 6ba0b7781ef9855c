"""`seen dead-letters`: list and clear the messages that no worker could read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from cli.help.pages import SeenTyper
from cli.local_stack.client import use_running_stack
from cli.output import formatting
from domain.urls import mask_urls
from seen_local.late_settings import settings_module

if TYPE_CHECKING:
    from worker.broker.client import Broker

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

app = SeenTyper(help="List or clear the messages that no worker could read.")


@app.command("list")
def list_dead_letters(as_json: AsJson = False) -> None:
    """List the messages, the newest first, each with the reason."""
    with _broker() as broker:
        letters = broker.dead_letters()
    if as_json:
        formatting.print_json([letter.as_json() for letter in letters])
        return
    for letter in letters:
        when = "at an unknown time" if letter.at is None else formatting.moment(letter.at)
        print(f"{when}  {letter.queue}  {formatting.size(letter.size)}: {mask_urls(letter.reason)}")
        print(f"    {mask_urls(letter.message)}")
    if not letters:
        print("There are no dead letters.")


@app.command()
def clear(as_json: AsJson = False) -> None:
    """Delete all of them. No job is lost: its row is in SQL, and its message is published again."""
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
    from worker.app import app as celery_app
    from worker.broker.client import Broker

    with closing(Broker(celery_app, timeout=settings.cache_timeout)) as broker:
        yield broker
