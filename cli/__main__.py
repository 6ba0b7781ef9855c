"""``python -m cli`` is the `seen` command."""

import sys

from cli import first_line


def main() -> None:
    """Run the command line of this process and exit with its status."""
    try:
        first_line.show(sys.argv[1:])
        from cli.main import main as run
    except KeyboardInterrupt:
        first_line.clean_exit()
    run()


if __name__ == "__main__":
    main()
