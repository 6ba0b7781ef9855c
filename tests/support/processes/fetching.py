"""Transfers in a process of its own: ``python -m tests.support.processes.fetching FOLDER URL …``.

They run one after the other. Prints how each ended, as JSON: a list of the error's class, its code and
its message, or of nulls.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from domain.errors import SeenError
from tests.support.services.transferring import Direct


def end_of(url: str, folder: Path) -> tuple[str | None, str | None, str | None]:
    """Run one transfer and return how it ended."""
    try:
        Direct(folder).fetch(url)
    except SeenError as error:
        return type(error).__name__, error.code, str(error)
    return None, None, None


if __name__ == "__main__":
    root, *urls = sys.argv[1:]
    ends = [end_of(url, Path(root, str(number))) for number, url in enumerate(urls)]
    sys.stdout.write(json.dumps(ends))
