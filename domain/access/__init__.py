"""Who may do what: roles, scopes, principals, and the rules that every way in asks.

Open `rules.py` first. docs/access.md has the rules as a table.
"""

from domain.access.principal import ALL_SCOPES, SCOPES_OF_ROLE, Kind, Principal, Role, Scope
from domain.access.rules import (
    changes,
    filter_for,
    owner_for,
    require,
    require_account,
    require_end_of_sessions,
    require_job,
    require_to_give,
    sees,
    visible_user,
)

__all__ = [
    "ALL_SCOPES",
    "SCOPES_OF_ROLE",
    "Kind",
    "Principal",
    "Role",
    "Scope",
    "changes",
    "filter_for",
    "owner_for",
    "require",
    "require_account",
    "require_end_of_sessions",
    "require_job",
    "require_to_give",
    "sees",
    "visible_user",
]
