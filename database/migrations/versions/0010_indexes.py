"""Indexes with which no query reads more finished jobs than it returns.

docs/adr/0077-no-query-grows-with-finished-jobs.md
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_HAS_FINISHED = "finished_at IS NOT NULL"
_QUEUED = "status = 'queued' AND published_at IS "

#: By name, of `jobs`: the columns, and the condition of a partial index.
_NEW: dict[str, tuple[tuple[str, ...], str | None]] = {
    "ix_jobs_status_id": (("status", "id"), None),
    "ix_jobs_status_host_id": (("status", "host", "id"), None),
    "ix_jobs_status_user_id_id": (("status", "user_id", "id"), None),
    "ix_jobs_status_finished_at": (("status", "finished_at"), _HAS_FINISHED),
    "ix_jobs_status_host_finished_at": (("status", "host", "finished_at"), _HAS_FINISHED),
    "ix_jobs_status_user_id_finished_at": (("status", "user_id", "finished_at"), _HAS_FINISHED),
    "ix_jobs_next_attempt_at": (("next_attempt_at",), "status = 'waiting'"),
    "ix_jobs_unpublished": (("id",), f"{_QUEUED}NULL"),
    "ix_jobs_published": (("priority", "published_at"), f"{_QUEUED}NOT NULL AND NOT requeued"),
    "ix_jobs_published_requeued": (("published_at",), f"{_QUEUED}NOT NULL AND requeued"),
}
_OLD: dict[str, tuple[tuple[str, ...], str | None]] = {
    "ix_jobs_status_updated_at": (("status", "updated_at"), None),
    "ix_jobs_status_next_attempt_at": (("status", "next_attempt_at"), None),
    "ix_jobs_status_host": (("status", "host"), None),
    "ix_jobs_status_priority_published_at": (("status", "priority", "published_at"), None),
    "ix_jobs_requeued": (("status", "published_at"), "requeued"),
    "ix_jobs_user_id_id": (("user_id", "id"), None),
    "ix_jobs_finished_at": (("finished_at",), None),
}


def upgrade() -> None:
    """Replace the indexes."""
    _replace(_OLD, _NEW)


def downgrade() -> None:
    """Bring the former indexes back."""
    _replace(_NEW, _OLD)


def _replace(
    former: dict[str, tuple[tuple[str, ...], str | None]],
    new: dict[str, tuple[tuple[str, ...], str | None]],
) -> None:
    for name in former:
        op.drop_index(name, "jobs")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("SET LOCAL maintenance_work_mem = '256MB'")  # for the indexes
    for name, (columns, condition) in new.items():
        where = None if condition is None else sa.text(condition)
        op.create_index(name, "jobs", list(columns), sqlite_where=where, postgresql_where=where)
