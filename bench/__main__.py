"""``python -m bench NAME [--json] [options]``."""

from __future__ import annotations

import importlib
import sys

from tests.support.environment import forget_developer_settings

NAMES = ("jobs", "progress", "cache", "transfer", "recovery")


def main() -> int:
    """Run the named benchmark; its module has a `main(arguments)`."""
    if len(sys.argv) < 2 or sys.argv[1] not in NAMES:
        print(f"Usage: python -m bench {{{','.join(NAMES)}}} [--json] [options]", file=sys.stderr)
        return 2
    forget_developer_settings()
    importlib.import_module(f"bench.{sys.argv[1]}").main(sys.argv[2:])
    return 0


sys.exit(main())
