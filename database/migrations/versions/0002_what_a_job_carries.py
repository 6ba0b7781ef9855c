"""Mirrors, limits, sealed secrets and the host of a job."""

import sqlalchemy as sa
from alembic import op

from domain.urls import host_of

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_BATCH = 5_000


def upgrade() -> None:
    """Add the columns, and tell the jobs that are there their hosts."""
    for column in (
        sa.Column("mirrors", sa.Text),
        sa.Column("host", sa.String(300)),
        sa.Column("max_bytes", sa.BigInteger),
        sa.Column("connections", sa.Integer),
        sa.Column("decode", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("secrets", sa.Text),
    ):
        op.add_column("jobs", column)
    _name_hosts(op.get_bind())
    op.create_index("ix_jobs_status_host", "jobs", ["status", "host"])


def downgrade() -> None:
    """Drop them, with all they hold."""
    op.drop_index("ix_jobs_status_host", "jobs")
    for name in ("secrets", "decode", "connections", "max_bytes", "host", "mirrors"):
        op.drop_column("jobs", name)


def _name_hosts(connection: sa.Connection) -> None:
    jobs = sa.table("jobs", sa.column("id"), sa.column("url"), sa.column("host"))
    name = (
        sa.update(jobs).where(jobs.c.id == sa.bindparam("b_id")).values(host=sa.bindparam("b_host"))
    )
    last = ""
    while rows := connection.execute(
        sa.select(jobs.c.id, jobs.c.url).where(jobs.c.id > last).order_by(jobs.c.id).limit(_BATCH)
    ).all():
        # Once there was no limit to a host's length.
        connection.execute(
            name,
            [{"b_id": row.id, "b_host": (host_of(row.url) or "")[:300] or None} for row in rows],
        )
        last = rows[-1].id
