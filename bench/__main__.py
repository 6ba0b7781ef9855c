"""``python -m bench NAME [--json] [options]``."""

from __future__ import annotations

import importlib
import sys

from tests.support.environment import forget_developer_settings
from tests.support.program import exit_with

#: The module of each benchmark; it has a `main(arguments)`.
MODULES = {
    "jobs": "bench.jobs",
    "progress": "bench.progress",
    "cache": "bench.cache.main",
    "transfer": "bench.transfers.main",
    "recovery": "bench.recoveries.main",
    "start": "bench.start",
    "scale": "bench.scale.main",
    "api": "bench.http.requests",
    "watch": "bench.http.watching",
    "page": "bench.http.page",
}


def main() -> int:
    """Run the named benchmark."""
    if len(sys.argv) < 2 or sys.argv[1] not in MODULES:
        print(f"Usage: python -m bench {{{','.join(MODULES)}}} [--json] [options]", file=sys.stderr)
        return 2
    forget_developer_settings()
    importlib.import_module(MODULES[sys.argv[1]]).main(sys.argv[2:])
    return 0


if __name__ == "__main__":
    exit_with(main)
