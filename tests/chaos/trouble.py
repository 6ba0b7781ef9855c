"""What is wrong with a worker's clock: told by the runner, done by the worker's own process."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Trouble:
    """A worker reads this from its file whenever it matters."""

    clock_ahead: float = 0.0
    """Seconds; negative when it is behind."""

    def write(self, path: Path) -> None:
        """Tell it to whoever reads `path`."""
        temporary = path.with_suffix(".new")
        temporary.write_text(json.dumps(asdict(self)))
        temporary.replace(path)

    @classmethod
    def read(cls, path: Path) -> Trouble:
        """Return what is told; nothing is wrong while there is no file."""
        try:
            return cls(**json.loads(path.read_bytes()))
        except FileNotFoundError:
            return cls()
