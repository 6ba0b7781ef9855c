"""A worker that may have N file descriptors.

python -m tests.support.processes.limited_descriptors N worker …
"""

from __future__ import annotations

import resource
import sys


def main() -> None:
    """Take the limit off the command line, set it, and be the worker."""
    limit = int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))

    from worker.celery_ext.main import main as program

    sys.exit(program(sys.argv[2:]))


if __name__ == "__main__":
    main()
