"""``python -m cli`` is the `seen` command."""

import gc
import sys

#: Objects that a command creates before garbage is collected. By Python's default the imports of a
#: command would cause hundreds of collections, a tenth of their time, and none finds anything.
_GARBAGE_THRESHOLD = 100_000


def main() -> None:
    """Run the command line of this process and exit with its status."""
    gc.set_threshold(_GARBAGE_THRESHOLD)
    try:
        from cli import first_line

        first_line.show(sys.argv[1:])
        from cli.main import main as run
    except KeyboardInterrupt:
        from cli.output.messages import say

        say("interrupted.")
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
