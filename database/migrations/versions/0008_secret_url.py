"""Whether a job's URL is a secret."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; the URLs of present jobs are no secrets."""
    column = sa.Column("secret_url", sa.Boolean, nullable=False, server_default=sa.false())
    op.add_column("jobs", column)


def downgrade() -> None:
    """Drop it."""
    op.drop_column("jobs", "secret_url")
