"""One transfer in a process of its own: ``python -m tests.support.processes.fetching URL FOLDER``.

Prints how it ended, as JSON: the error's class, its code and its message, or nulls.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from domain.errors import SeenError
from tests.support.services.transferring import Direct

if __name__ == "__main__":
    kind = code = message = None
    try:
        Direct(Path(sys.argv[2])).fetch(sys.argv[1])
    except SeenError as error:
        kind, code, message = type(error).__name__, error.code, str(error)
    sys.stdout.write(json.dumps([kind, code, message]))
