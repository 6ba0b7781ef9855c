"""docs/access.md: its table of rules is the program's."""

from __future__ import annotations

import re
from pathlib import Path

from domain.access import SCOPES_OF_ROLE, Role, Scope

DOCUMENT = Path(__file__).parents[3] / "docs" / "access.md"


def test_the_table_of_scopes_is_the_programs() -> None:
    text = DOCUMENT.read_text(encoding="utf-8").partition("## Roles and scopes")[2]
    head, _, *rows = re.findall(r"^\|(.*)\|$", text.partition("\n## ")[0], re.MULTILINE)
    roles = [Role(cell.strip()) for cell in head.split("|")[2:]]
    scopes: dict[Role, set[Scope]] = {role: set() for role in roles}
    for row in rows:
        name, _, *cells = [cell.strip() for cell in row.split("|")]
        for role, cell in zip(roles, cells, strict=True):
            if cell != "–":
                scopes[role].add(Scope(name.strip("`")))
    assert scopes == SCOPES_OF_ROLE
