"""``python -m cli`` is the `seen` command."""

import sys


def main() -> None:
    """Run the command line of this process and exit with its status."""
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
