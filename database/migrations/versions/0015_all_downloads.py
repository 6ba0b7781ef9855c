"""An index of the jobs that wait for a slot of all downloads.

docs/adr/0095-all-downloads-have-slots-too.md
"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_NAME = "ix_jobs_waiting_for_any"


def upgrade() -> None:
    """Add it."""
    where = sa.text("status = 'waiting' AND error_code = 'total_busy'")
    op.create_index(_NAME, "jobs", ["priority", "id"], sqlite_where=where, postgresql_where=where)


def downgrade() -> None:
    """Drop it."""
    op.drop_index(_NAME, "jobs")
