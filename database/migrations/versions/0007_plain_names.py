"""Plain names for three columns; the version before goes on with the old ones beside it.

The columns are renamed, and columns with their old names are added. Triggers copy each value to the
other name, whichever version writes it. The next version drops the old names
(docs/adr/0035-renamed-columns-keep-their-old-names-for-one-release.md).
"""

import sqlalchemy as sa
from alembic import op

from database.models import UTCDateTime

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

#: By the old name: the new one.
_RENAMED = {"flight": "dedup_key", "in_front": "requeued", "spent_at": "message_consumed_at"}
_HOLDS_KEY = sa.text(
    "status NOT IN ('completed', 'failed', 'cancelled') "
    "AND (control IS NULL OR control <> 'cancel')"
)
_TRIGGERS = ("jobs_names_inserted", "jobs_old_names_updated", "jobs_new_names_updated")


def upgrade() -> None:
    """Rename the columns, add the old names with their values, and keep both alike."""
    op.drop_index("uq_jobs_flight_alive", "jobs")
    op.drop_index("ix_jobs_in_front", "jobs")
    for old, new in _RENAMED.items():
        op.execute(f"ALTER TABLE jobs RENAME COLUMN {old} TO {new}")
    op.add_column("jobs", sa.Column("flight", sa.String(64)))
    op.add_column(
        "jobs", sa.Column("in_front", sa.Boolean, nullable=False, server_default=sa.false())
    )
    op.add_column("jobs", sa.Column("spent_at", UTCDateTime))
    _copy_to_old_names()
    # Only the first one is unique, since both versions name it in ON CONFLICT: PostgreSQL would raise
    # for a row that another transaction inserts at the same moment and that is found in the other index.
    _key_index("uq_jobs_flight_alive", "flight")
    _key_index("ix_jobs_dedup_key", "dedup_key", unique=False)
    _message_index("ix_jobs_requeued", "requeued")
    _make_triggers()


def downgrade() -> None:
    """Drop the copies, and give the columns their old names again."""
    _drop_triggers()
    for index in ("uq_jobs_flight_alive", "ix_jobs_dedup_key", "ix_jobs_requeued"):
        op.drop_index(index, "jobs")
    for old, new in _RENAMED.items():
        op.drop_column("jobs", old)
        op.execute(f"ALTER TABLE jobs RENAME COLUMN {new} TO {old}")
    _key_index("uq_jobs_flight_alive", "flight")
    _message_index("ix_jobs_in_front", "in_front")


def _key_index(name: str, column: str, *, unique: bool = True) -> None:
    where = _HOLDS_KEY
    op.create_index(
        name, "jobs", [column], unique=unique, sqlite_where=where, postgresql_where=where
    )


def _message_index(name: str, column: str) -> None:
    where, columns = sa.text(column), ["status", "published_at"]
    op.create_index(name, "jobs", columns, sqlite_where=where, postgresql_where=where)


def _copy_to_old_names() -> None:
    if _is_postgresql():
        # This writes the table once and builds each index once. An UPDATE would write each index entry
        # one by one, and leave as many dead rows as there are jobs.
        op.execute("SET LOCAL maintenance_work_mem = '256MB'")  # for the indexes
        op.execute(
            "ALTER TABLE jobs ALTER COLUMN in_front DROP DEFAULT, "
            "ALTER COLUMN flight TYPE varchar(64) USING dedup_key, "
            "ALTER COLUMN in_front TYPE boolean USING requeued, "
            "ALTER COLUMN spent_at TYPE timestamptz USING message_consumed_at"
        )
        op.execute("ALTER TABLE jobs ALTER COLUMN in_front SET DEFAULT false")
    else:
        op.execute(f"UPDATE jobs SET {_assignments(_RENAMED)}")  # noqa: S608


def _is_postgresql() -> bool:
    return op.get_bind().dialect.name == "postgresql"


def _assignments(sources: dict[str, str], row: str = "") -> str:
    """Return the SET clause that copies columns: by the name of each target, its source."""
    return ", ".join(f"{target} = {row}{source}" for target, source in sources.items())


# ── triggers ────────────────────────────────────────────────────────────────────────────────────


def _make_triggers() -> None:
    """Copy values to the other names: of new rows, and of old or new names that an UPDATE sets."""
    made, old_set, new_set = _TRIGGERS
    either = {
        **{old: f"COALESCE(NEW.{new}, NEW.{old})" for old, new in _RENAMED.items()},
        "in_front": "(NEW.in_front OR NEW.requeued)",
    }
    both = {**either, **{new: either[old] for old, new in _RENAMED.items()}}
    to_new = {new: f"NEW.{old}" for old, new in _RENAMED.items()}
    to_old = {old: f"NEW.{new}" for old, new in _RENAMED.items()}
    _make_trigger(made, "INSERT", both)
    _make_trigger(old_set, f"UPDATE OF {', '.join(to_old)}", to_new)
    _make_trigger(new_set, f"UPDATE OF {', '.join(to_new)}", to_old)


def _make_trigger(name: str, event: str, values: dict[str, str]) -> None:
    if _is_postgresql():
        body = " ".join(f"NEW.{column} := {value};" for column, value in values.items())
        op.execute(
            f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN {body} RETURN NEW; END $$"
        )
        differ = " OR ".join(
            f"NEW.{old} IS DISTINCT FROM NEW.{new}" for old, new in _RENAMED.items()
        )
        op.execute(
            f"CREATE TRIGGER {name} BEFORE {event} ON jobs FOR EACH ROW WHEN ({differ}) "
            f"EXECUTE FUNCTION {name}()"
        )
    else:
        differ = " OR ".join(f"NEW.{old} IS NOT NEW.{new}" for old, new in _RENAMED.items())
        op.execute(
            f"CREATE TRIGGER {name} AFTER {event} ON jobs WHEN {differ} BEGIN "  # noqa: S608
            f"UPDATE jobs SET {_assignments(values)} WHERE rowid = NEW.rowid; END"
        )


def _drop_triggers() -> None:
    for name in _TRIGGERS:
        if _is_postgresql():
            op.execute(f"DROP TRIGGER {name} ON jobs")
            op.execute(f"DROP FUNCTION {name}()")
        else:
            op.execute(f"DROP TRIGGER {name}")
