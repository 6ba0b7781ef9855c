"""Indexes of the jobs that wait for a slot, and of a user's jobs with their hosts.

docs/adr/0085-slots-are-given-in-turn.md, docs/adr/0077-no-query-grows-with-finished-jobs.md
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_HAS_FINISHED = "finished_at IS NOT NULL"
_WAITING = "status = 'waiting' AND error_code = "

#: By name, of `jobs`: the columns, and the condition of a partial index.
_NEW: dict[str, tuple[tuple[str, ...], str | None]] = {
    "ix_jobs_waiting_for_host": (("host", "priority", "id"), f"{_WAITING}'host_busy'"),
    "ix_jobs_waiting_for_user": (("user_id", "priority", "id"), f"{_WAITING}'user_busy'"),
    "ix_jobs_status_user_id_id_host": (("status", "user_id", "id", "host"), None),
    "ix_jobs_status_user_id_finished_at_host": (
        ("status", "user_id", "finished_at", "host"),
        _HAS_FINISHED,
    ),
}
_OLD: dict[str, tuple[tuple[str, ...], str | None]] = {
    "ix_jobs_status_user_id_id": (("status", "user_id", "id"), None),
    "ix_jobs_status_user_id_finished_at": (("status", "user_id", "finished_at"), _HAS_FINISHED),
}


def upgrade() -> None:
    """Add the indexes; two of them replace others."""
    _replace(_OLD, _NEW)


def downgrade() -> None:
    """Bring the former ones back."""
    _replace(_NEW, _OLD)


def _replace(
    former: dict[str, tuple[tuple[str, ...], str | None]],
    new: dict[str, tuple[tuple[str, ...], str | None]],
) -> None:
    for name in former:
        op.drop_index(name, "jobs")
    for name, (columns, condition) in new.items():
        where = None if condition is None else sa.text(condition)
        op.create_index(name, "jobs", [*columns], sqlite_where=where, postgresql_where=where)
