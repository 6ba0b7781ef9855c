"""``python -m tests.support.processes.decoding_memory FOLDER MAX_BYTES URL …``: decodes bodies in turn.

A process of its own, since it prints for each its peak of memory so far: "<code or size> <peak in KiB>".
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from domain.errors import SeenError
from tests.support.services.transferring import Direct


def decode(url: str, folder: Path, max_bytes: int) -> str:
    """Run one transfer; return the size of the file, or the code of the error."""
    try:
        return str(Direct(folder).fetch_size(url, decode=True, max_bytes=max_bytes))
    except SeenError as error:
        return error.code


def peak_in_kib() -> int:
    """Return the peak since the program's start; `ru_maxrss` has that of the process that started it."""
    found = re.search(r"^VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text(), re.M)
    assert found is not None
    return int(found[1])


def main() -> None:
    """Run the transfers that the command line asks for."""
    folder, max_bytes, *urls = sys.argv[1:]
    for number, url in enumerate(urls):
        result = decode(url, Path(folder, str(number)), int(max_bytes))
        print(result, peak_in_kib())  # noqa: T201


if __name__ == "__main__":
    main()
