"""What is known of a job's last message: in which queue it went, and which one was spent."""

import sqlalchemy as sa
from alembic import op

from database.models import UTCDateTime

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_IN_FRONT = sa.text("in_front")


def upgrade() -> None:
    """Add columns and an index; the messages that there are went to the queues of their priorities."""
    op.add_column(
        "jobs", sa.Column("in_front", sa.Boolean, nullable=False, server_default=sa.false())
    )
    op.add_column("jobs", sa.Column("spent_at", UTCDateTime))
    op.create_index(
        "ix_jobs_in_front",
        "jobs",
        ["status", "published_at"],
        sqlite_where=_IN_FRONT,
        postgresql_where=_IN_FRONT,
    )


def downgrade() -> None:
    """Drop them."""
    op.drop_index("ix_jobs_in_front", "jobs")
    op.drop_column("jobs", "spent_at")
    op.drop_column("jobs", "in_front")
