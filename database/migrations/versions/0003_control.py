"""Priorities, single flight, idempotency keys, and what retention looks for."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_ALIVE = sa.text("status NOT IN ('completed', 'failed', 'cancelled')")


def upgrade() -> None:
    """Add columns, indexes and a table; jobs that are there are of normal priority and fly alone."""
    op.add_column(
        "jobs", sa.Column("priority", sa.String(8), nullable=False, server_default="normal")
    )
    op.add_column("jobs", sa.Column("flight", sa.String(64)))
    op.create_index(
        "ix_jobs_status_priority_published_at", "jobs", ["status", "priority", "published_at"]
    )
    op.create_index("ix_jobs_finished_at", "jobs", ["finished_at"])
    op.create_index(
        "uq_jobs_flight_alive",
        "jobs",
        ["flight"],
        unique=True,
        sqlite_where=_ALIVE,
        postgresql_where=_ALIVE,
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("job_id", sa.String(36), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_idempotency_keys"),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name="fk_idempotency_keys_job_id", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_idempotency_keys_job_id", "idempotency_keys", ["job_id"])


def downgrade() -> None:
    """Drop them."""
    op.drop_table("idempotency_keys")
    for name in (
        "uq_jobs_flight_alive",
        "ix_jobs_finished_at",
        "ix_jobs_status_priority_published_at",
    ):
        op.drop_index(name, "jobs")
    op.drop_column("jobs", "flight")
    op.drop_column("jobs", "priority")
