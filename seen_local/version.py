"""The version of this program."""

from __future__ import annotations

from functools import cache
from pathlib import Path

_DISTRIBUTION = "seen-downloads"
_PROJECT_FILE = Path(__file__).resolve().parents[1] / "pyproject.toml"


@cache
def version() -> str:
    """Return the version: a checkout's from its pyproject.toml, else that of the installed package."""
    import tomllib  # here, since `import cache` imports this module and mostly needs no version

    try:
        project = tomllib.loads(_PROJECT_FILE.read_text())["project"]
        if project["name"] == _DISTRIBUTION:
            return str(project["version"])
    except (OSError, ValueError, KeyError):
        pass
    from importlib import metadata

    try:
        return metadata.version(_DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return "unknown"
