"""``python -m cli`` is the `seen` command."""

import sys

try:
    from cli.main import main
except KeyboardInterrupt:
    # Ctrl-C during the imports.
    sys.exit(130)

if __name__ == "__main__":
    main()
