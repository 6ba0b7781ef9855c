"""Whether a job goes by the digests that its origin promises."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; jobs that are there go by them, as before."""
    column = sa.Column(
        "ignore_origin_digests", sa.Boolean, nullable=False, server_default=sa.false()
    )
    op.add_column("jobs", column)


def downgrade() -> None:
    """Drop it."""
    op.drop_column("jobs", "ignore_origin_digests")
