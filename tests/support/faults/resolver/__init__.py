"""A resolver that says what a test wants: built with the system's compiler, loaded before libc."""

from __future__ import annotations

import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("resolver.c")


def build(folder: Path) -> Path:
    """Compile the resolver into `folder`; return the library for LD_PRELOAD."""
    library = folder / "resolver.so"
    command = ["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(SOURCE), "-ldl"]
    subprocess.run(command, check=True, capture_output=True)
    return library


def environment(library: Path, folder: Path, codes: list[int]) -> dict[str, str]:
    """Return variables by which a program's questions get these codes; see `resolver.c`."""
    answers = folder / "codes"
    answers.write_text("".join(f"{code}\n" for code in codes))
    return {
        "LD_PRELOAD": str(library),
        "TEST_RESOLVER_CODES": str(answers),
        "TEST_RESOLVER_LOG": str(folder / "asked"),
    }
