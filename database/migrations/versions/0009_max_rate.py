"""A job's own limit of bytes a second."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; present jobs have no limit of their own."""
    op.add_column("jobs", sa.Column("max_rate", sa.BigInteger))


def downgrade() -> None:
    """Drop it."""
    op.drop_column("jobs", "max_rate")
