"""A running job that somebody has cancelled does not keep the same from being asked for again."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_NAME = "uq_jobs_flight_alive"
_ALIVE = "status NOT IN ('completed', 'failed', 'cancelled')"
_FLYING = f"{_ALIVE} AND (control IS NULL OR control <> 'cancel')"


def upgrade() -> None:
    """Let go of the flights of jobs that are being cancelled."""
    _build_index(_FLYING)


def downgrade() -> None:
    """Let a flight be held until its job has ended, by the one that nobody cancels."""
    op.execute(f"UPDATE jobs SET flight = NULL WHERE control = 'cancel' AND {_ALIVE}")  # noqa: S608
    _build_index(_ALIVE)


def _build_index(condition: str) -> None:
    op.drop_index(_NAME, "jobs")
    where = sa.text(condition)
    op.create_index(
        _NAME, "jobs", ["flight"], unique=True, sqlite_where=where, postgresql_where=where
    )
