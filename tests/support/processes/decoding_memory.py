"""``python -m tests.support.processes.decoding_memory FOLDER URL MAX_BYTES``: decodes one body.

A process of its own, since it prints its peak of memory: "<code or size> <peak in KiB>".
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path

from domain.errors import SeenError
from tests.support.services.transferring import Direct


def main() -> None:
    """Run the transfer that the command line asks for."""
    folder, url, max_bytes = sys.argv[1:]
    direct = Direct(Path(folder))
    try:
        result = str(direct.fetch_size(url, decode=True, max_bytes=int(max_bytes)))
    except SeenError as error:
        result = error.code
    print(result, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)  # noqa: T201


if __name__ == "__main__":
    main()
