"""`seen worker --check`: whether a worker on this machine answers, for health checks."""

from __future__ import annotations

from typing import Any

from kombu.exceptions import OperationalError

from cache.store.connection import translate_store_errors
from cli.errors import FAILED
from cli.local_stack import command_lines
from cli.local_stack.client import use_running_stack
from cli.output import formatting
from domain.errors import StoreUnavailableError

#: Seconds to wait for an answer; a busy worker may need some.
_TIMEOUT = 10.0


def check(queue: str, *, as_json: bool) -> int:
    """Ping workers of one kind through the broker, print their names, return the exit status.

    Raises:
        StoreUnavailableError: the broker does not answer.
    """
    use_running_stack()
    names = _answering(command_lines.node_pattern(queue))
    if as_json:
        formatting.print_json({"ok": bool(names), "workers": names})
    else:
        print(", ".join(names) or f"no worker of {queue} answered within {_TIMEOUT:g} s")
    return 0 if names else FAILED


def _answering(pattern: str) -> list[str]:
    # Imported here because they read the settings; celeryconfig first, because Celery would import the
    # one of the current folder.
    import celeryconfig  # noqa: F401
    from worker.app import app

    # Without the limit of one answer a check would always wait for the whole timeout.
    control: Any = app.control  # its stub takes the matcher for a function
    inspect = control.inspect(pattern=pattern, matcher="glob", timeout=_TIMEOUT, limit=1)
    try:
        with translate_store_errors():
            return sorted(inspect.ping() or {})
    except (OperationalError, OSError) as error:
        raise StoreUnavailableError(f"The broker does not answer: {error}") from error
