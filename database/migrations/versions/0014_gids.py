"""An index by which a job is found by its GID, which is the end of its id.

docs/adr/0089-a-gid-is-the-end-of-a-job-id.md
"""

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the index. Ids have had 62 random bits there in each version."""
    op.execute(
        "CREATE UNIQUE INDEX uq_jobs_gid ON jobs ((substr(id, 20, 4) || substr(id, 25))) "
        "WHERE length(id) = 36"
    )


def downgrade() -> None:
    """Drop it."""
    op.execute("DROP INDEX uq_jobs_gid")
