"""Celery's command line (``celery -A worker.app …``) uses the running local stack, and says so."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

import seen_modules
import settings as settings_module
from domain.errors import SeenError, SettingsError
from seen_local import discovery
from seen_local.stack_settings import has_store


def use_running_stack() -> None:
    """Use the running local stack, unless a store is configured, before Celery reads its settings.

    Raises:
        SettingsError: the stack cannot be used. Celery's command line ends instead.
    """
    if _is_celerys_command_line():
        use_and_name_store()
    else:
        discovery.use_running_stack()


def use_and_name_store() -> None:
    """As `use_running_stack`, for a program: end it with a sentence where the stack cannot be used.

    Which store it uses is printed to standard error unless one is configured: the log of the program,
    if it has one, is set up later.
    """
    try:
        state = discovery.use_running_stack(any_directory=True)
        settings = settings_module.load()
    except SettingsError as error:
        sys.exit(f"seen: {error}")
    if state is not None:
        sys.stderr.write(f"seen: using {discovery.describe(state)}\n")
    elif not has_store(settings):
        sys.stderr.write(
            f"seen: SEEN_CACHE_ADDR is not set, and no local stack runs in {settings.data_dir}: "
            f"using {settings.cache_addr}\n"
        )


def use_own_flower_config() -> None:
    """Let ``celery -A worker.app flower`` use the project's flowerconfig.py by default.

    Flower's default is a file of this name in the current folder. Without one it would start without
    password.
    """
    if "flower.options" in sys.modules and seen_modules.is_own_program():
        from tornado.options import options

        options.conf = str(seen_modules.FOLDER / "flowerconfig.py")


@contextmanager
def errors_as_usage() -> Iterator[None]:
    """Let Celery's command line print an error as one sentence; other programs get it as it is."""
    try:
        yield
    except SeenError as error:
        if not _is_celerys_command_line():
            raise
        raise click.ClickException(str(error)) from None


def is_flower() -> bool:
    """Return whether this is Flower's process, started by Celery's command line."""
    # Its requests run in threads, which have no context of click.
    return "flower" in sys.orig_argv


def service() -> str | None:
    """Return which service Celery's command line runs here: worker, beat or flower; None for none.

    Other commands of Celery print for people.
    """
    if is_flower():
        return "flower"
    found = [name for name in ("worker", "beat") if name in sys.orig_argv]
    return found[0] if found and _is_celerys_command_line() else None


def _is_celerys_command_line() -> bool:
    context = click.get_current_context(silent=True)
    celery = sys.modules.get("celery.bin.celery")
    return context is not None and context.find_root().command is getattr(celery, "celery", None)
