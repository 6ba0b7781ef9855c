"""Indexes with which no query reads more finished jobs than it returns, and a count of finished jobs.

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
    "ix_jobs_published": (
        ("id", "priority", "requeued", "published_at", "fence"),
        f"{_QUEUED}NOT NULL",
    ),
}
_OLD: dict[str, tuple[tuple[str, ...], str | None]] = {
    "ix_jobs_status_updated_at": (("status", "updated_at"), None),
    "ix_jobs_status_next_attempt_at": (("status", "next_attempt_at"), None),
    "ix_jobs_status_host": (("status", "host"), None),
    "ix_jobs_status_priority_published_at": (("status", "priority", "published_at"), None),
    "ix_jobs_requeued": (("status", "published_at"), "requeued"),
    "ix_jobs_user_id_id": (("user_id", "id"), None),
    "ix_jobs_finished_at": (("finished_at",), None),
    "ix_jobs_dedup_key": (
        ("dedup_key",),
        "status NOT IN ('completed', 'failed', 'cancelled') "
        "AND (control IS NULL OR control <> 'cancel')",
    ),
}


_FINISHED = "('completed', 'failed', 'cancelled')"
# Not IN: SQLite would make a temporary table for each row.
_ENDS = "NEW.status = 'completed' OR NEW.status = 'failed' OR NEW.status = 'cancelled'"
_WAS_FINISHED = _ENDS.replace("NEW", "OLD")
_COUNT = f"SELECT status, {{}} FROM {{}} WHERE status IN {_FINISHED} GROUP BY status"  # noqa: S608
_ADD = "INSERT INTO finished_job_counts (status, jobs)"


def upgrade() -> None:
    """Replace the indexes; count the finished jobs, and let triggers go on."""
    _replace(_OLD, _NEW)
    op.create_table(
        "finished_job_counts",
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("jobs", sa.BigInteger, nullable=False),
    )
    # Before counting: PostgreSQL locks the table for them, so that no job ends in between.
    if _is_postgresql():
        _make_postgresql_triggers()
    else:
        _make_sqlite_triggers()
    op.execute(f"{_ADD} {_COUNT.format('count(*)', 'jobs')}")


def downgrade() -> None:
    """Bring the former indexes back; drop the count."""
    for name in ("inserted", "updated", "deleted"):
        on = " ON jobs" if _is_postgresql() else ""
        op.execute(f"DROP TRIGGER finished_jobs_{name}{on}")
    if _is_postgresql():
        op.execute("DROP FUNCTION count_finished_job()")
        op.execute("DROP FUNCTION count_deleted_jobs()")
    op.drop_table("finished_job_counts")
    _replace(_NEW, _OLD)


def _make_sqlite_triggers() -> None:
    count_old = f"{_ADD} SELECT OLD.status, -1 WHERE {_WAS_FINISHED};"
    count_new = f"{_ADD} SELECT NEW.status, 1 WHERE {_ENDS};"
    changed = f"NEW.status IS NOT OLD.status AND ({_WAS_FINISHED} OR {_ENDS})"
    for name, event, condition, work in (
        ("inserted", "INSERT", _ENDS, count_new),
        ("updated", "UPDATE OF status", changed, count_old + " " + count_new),
        ("deleted", "DELETE", _WAS_FINISHED, count_old),
    ):
        op.execute(
            f"CREATE TRIGGER finished_jobs_{name} AFTER {event} ON jobs WHEN {condition} "
            f"BEGIN {work} END"
        )


def _make_postgresql_triggers() -> None:
    """Count each job that ends or is retried, and those that one statement deletes at once."""
    op.execute(
        "CREATE FUNCTION count_finished_job() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"IF TG_OP = 'UPDATE' AND ({_WAS_FINISHED}) THEN {_ADD} VALUES (OLD.status, -1); END IF; "
        f"IF {_ENDS} THEN {_ADD} VALUES (NEW.status, 1); END IF; RETURN NULL; END $$"
    )
    op.execute(
        "CREATE FUNCTION count_deleted_jobs() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"{_ADD} {_COUNT.format('-count(*)', 'gone')}; "
        "RETURN NULL; END $$"
    )
    changed = f"NEW.status IS DISTINCT FROM OLD.status AND ({_WAS_FINISHED} OR {_ENDS})"
    for name, event, condition in (
        ("inserted", "INSERT", _ENDS),
        ("updated", "UPDATE OF status", changed),
    ):
        op.execute(
            f"CREATE TRIGGER finished_jobs_{name} AFTER {event} ON jobs FOR EACH ROW "
            f"WHEN ({condition}) EXECUTE FUNCTION count_finished_job()"
        )
    op.execute(
        "CREATE TRIGGER finished_jobs_deleted AFTER DELETE ON jobs REFERENCING OLD TABLE AS gone "
        "FOR EACH STATEMENT EXECUTE FUNCTION count_deleted_jobs()"
    )


def _is_postgresql() -> bool:
    return op.get_bind().dialect.name == "postgresql"


def _replace(
    former: dict[str, tuple[tuple[str, ...], str | None]],
    new: dict[str, tuple[tuple[str, ...], str | None]],
) -> None:
    if _is_postgresql():
        op.execute("SET LOCAL maintenance_work_mem = '256MB'")  # for the indexes
    for name, (columns, condition) in new.items():
        where = None if condition is None else sa.text(condition)
        op.create_index(name, "jobs", list(columns), sqlite_where=where, postgresql_where=where)
    for name in former:  # last: this locks out readers, too
        op.drop_index(name, "jobs")
