"""``python -m cli`` is the `seen` command."""

import sys

try:
    from cli.main import main
except KeyboardInterrupt:
    # Ctrl-C while the program still loads: there is nothing to stop, and nothing to say.
    sys.exit(130)

if __name__ == "__main__":
    main()
