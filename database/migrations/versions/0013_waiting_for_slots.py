"""Indexes of the jobs that wait for a slot, in the order in which slots are given.

docs/adr/0085-slots-are-given-in-turn.md
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

#: By name, of `jobs`: the first column, and the error code of those that are in it.
_INDEXES = {
    "ix_jobs_waiting_for_host": ("host", "host_busy"),
    "ix_jobs_waiting_for_user": ("user_id", "user_busy"),
}


def upgrade() -> None:
    """Add the indexes; only jobs that wait for a slot are in them."""
    for name, (column, code) in _INDEXES.items():
        where = sa.text(f"status = 'waiting' AND error_code = '{code}'")
        columns = [column, "priority", "id"]
        op.create_index(name, "jobs", columns, sqlite_where=where, postgresql_where=where)


def downgrade() -> None:
    """Drop them."""
    for name in _INDEXES:
        op.drop_index(name, "jobs")
