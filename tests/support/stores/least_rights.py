"""A user of the store with exactly the rights that docs/cache-operations.md says are needed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import redis

DOCUMENT = Path(__file__).parents[3] / "docs" / "cache-operations.md"
USER_NAME, PASSWORD = "seen", "least-rights"


def rules() -> list[str]:
    """Return the words of ACL SETUSER, as they stand in the document."""
    match = re.search(r"```text\nACL SETUSER seen (.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert match is not None
    return match[1].replace("PASSWORD", PASSWORD).split()


def grant_least_rights(client: redis.Redis) -> None:
    """Make the user."""
    execute: Any = client.execute_command
    execute("ACL", "SETUSER", USER_NAME, "reset", *rules())
