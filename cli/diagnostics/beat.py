"""`seen beat --check`: whether beat runs, for health checks. Imports no Celery."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cli.context import open_cache
from cli.errors import FAILED
from cli.output import formatting

if TYPE_CHECKING:  # loaded where it is needed
    from cache import BeatStatus


def check_beat(*, as_json: bool) -> int:
    """Print one line about beat; return the exit status: 0 when it has ticked recently.

    Raises:
        StoreUnavailableError: the store does not answer.
    """
    with open_cache() as cache:
        status = cache.beat.status()
    ticks = status is not None and not status.is_missing
    if as_json:
        shown = {} if status is None else status.model_dump(mode="json", by_alias=True)
        formatting.print_json({"ok": ticks, **shown})
    else:
        print(f"beat {'has not ticked within a day' if status is None else described(status)}")
    return 0 if ticks else FAILED


def described(status: BeatStatus) -> str:
    """Return when beat ticked last, and where."""
    age = status.age_seconds
    when = f"{age:.1f} s" if age < 60 else formatting.duration(age)
    return f"ticked {when} ago on {status.process}"
