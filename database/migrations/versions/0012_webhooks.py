"""Webhooks: the URL of a job and of a user's jobs, and the outbox of deliveries.

docs/adr/0083-a-trigger-writes-the-outbox.md
"""

import sqlalchemy as sa
from alembic import op

from database.models import UTCDateTime

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

#: What a delivery keeps of its job, under the names of the columns.
_KEPT = (
    *("id", "user_id", "host", "directory", "name", "checksum", "overwrite", "max_bytes"),
    *("max_rate", "connections", "decode", "ignore_origin_digests", "priority", "secret_url"),
    *("status", "reason", "error_code", "fence", "attempts", "max_attempts", "worker"),
    *("published_at", "created_at", "updated_at", "started_at", "finished_at"),
    *("bytes_downloaded", "bytes_total", "bytes_durable", "path", "sha256"),
)
_COLUMNS = (
    "job_id, user_id, target, url, host, event, ended_at, job, state, claims, attempts, "
    "next_attempt_at"
)
#: Most jobs have no receiver: for them nothing else is done.
_HAS_RECEIVER = (
    "(NEW.webhook IS NOT NULL OR EXISTS (SELECT 1 FROM end_programs) OR EXISTS "
    "(SELECT 1 FROM webhook_users WHERE user_id = coalesce(NEW.user_id, '')))"
)
_ENDS = "NEW.status IN ('completed', 'failed', 'cancelled')"


def upgrade() -> None:
    """Add the column and the tables, and the trigger that writes a delivery when a job ends."""
    op.add_column("jobs", sa.Column("webhook", sa.Text))
    op.create_table(
        "webhook_users",
        sa.Column("user_id", sa.String(200), nullable=False),
        sa.Column("url", sa.Text),
        sa.Column("secrets", sa.Text),
        sa.Column("updated_at", UTCDateTime, nullable=False),
        sa.PrimaryKeyConstraint("user_id", name="pk_webhook_users"),
    )
    op.create_table(
        "end_programs",
        sa.Column("name", sa.String(16), nullable=False),
        sa.Column("seen_at", UTCDateTime, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_end_programs"),
    )
    _create_deliveries()
    if op.get_bind().dialect.name == "postgresql":
        _make_postgresql_trigger()
    else:
        _make_sqlite_trigger()


def _create_deliveries() -> None:
    table, row_id = "webhook_deliveries", sa.BigInteger().with_variant(sa.Integer, "sqlite")
    op.create_table(
        table,
        sa.Column("id", row_id, nullable=False, autoincrement=True),
        sa.Column("job_id", sa.String(36), nullable=False),
        sa.Column("user_id", sa.String(200)),
        sa.Column("target", sa.String(8), nullable=False),
        sa.Column("url", sa.Text),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("event", sa.String(16), nullable=False),
        sa.Column("ended_at", UTCDateTime, nullable=False),
        sa.Column("job", sa.Text, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("claims", sa.Integer, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("next_attempt_at", UTCDateTime, nullable=False),
        sa.Column("log", sa.Text),
        sa.PrimaryKeyConstraint("id", name="pk_webhook_deliveries"),
        # An id is never given twice: receivers and callers may still know it.
        sqlite_autoincrement=True,
    )
    pending = sa.text("state = 'pending'")
    op.create_index("ix_webhook_deliveries_job_id_id", table, ["job_id", "id"])
    op.create_index("ix_webhook_deliveries_state_id", table, ["state", "id"])
    op.create_index("ix_webhook_deliveries_user_id_id", table, ["user_id", "id"])
    op.create_index(
        "ix_webhook_deliveries_host_next_attempt_at",
        table,
        ["host", "next_attempt_at"],
        sqlite_where=pending,
        postgresql_where=pending,
    )


def downgrade() -> None:
    """Drop them: deliveries that are pending are lost."""
    is_postgresql = op.get_bind().dialect.name == "postgresql"
    op.execute(f"DROP TRIGGER webhook_of_ended_job{' ON jobs' if is_postgresql else ''}")
    if is_postgresql:
        op.execute("DROP FUNCTION add_webhook_deliveries()")
    op.drop_table("webhook_deliveries")
    op.drop_table("end_programs")
    op.drop_table("webhook_users")
    op.drop_column("jobs", "webhook")


def _make_sqlite_trigger() -> None:
    op.execute(
        "CREATE TRIGGER webhook_of_ended_job AFTER UPDATE OF status ON jobs "
        f"WHEN NEW.status IS NOT OLD.status AND {_ENDS} AND {_HAS_RECEIVER} "
        f"BEGIN {_insert('json_object', _sqlite_authority, 'IS NOT')}; END"
    )


def _make_postgresql_trigger() -> None:
    insert = _insert("json_build_object", _postgresql_authority, "IS DISTINCT FROM")
    op.execute(
        "CREATE FUNCTION add_webhook_deliveries() RETURNS trigger LANGUAGE plpgsql AS $$ "
        f"BEGIN IF {_HAS_RECEIVER} THEN {insert}; END IF; RETURN NULL; END $$"
    )
    op.execute(
        "CREATE TRIGGER webhook_of_ended_job AFTER UPDATE OF status ON jobs FOR EACH ROW "
        f"WHEN (NEW.status IS DISTINCT FROM OLD.status AND {_ENDS}) "
        "EXECUTE FUNCTION add_webhook_deliveries()"
    )


def _insert(json_object, authority, differs) -> str:  # type: ignore[no-untyped-def]
    """Return the INSERT of one delivery for each receiver of the job that has just ended."""
    # Two of a request's parts are secrets: a URL that is marked so, and where the webhook is.
    head = "substr({0}, 1, instr({0}, '://') + 2)"
    if json_object == "json_build_object":
        head = "split_part({0}, '://', 1) || '://'"

    def shown(column: str) -> str:
        return f"{head.format(f'j.{column}')} || {authority(f'j.{column}')} || '/'"

    pairs = [f"'{name}', j.{name}" for name in _KEPT]
    pairs += [
        f"'url', CASE WHEN j.secret_url THEN {shown('url')} ELSE j.url END",
        "'mirrors', CASE WHEN j.secret_url THEN NULL ELSE j.mirrors END",
        f"'webhook', {shown('webhook')}",
        # The names alone; the rest is encrypted, and of no use outside.
        f"'secrets', {_names_of_secrets(json_object)}",
    ]
    of_owner = f"u.user_id = coalesce(NEW.user_id, '') AND u.url {differs} NEW.webhook"
    receivers = (
        "SELECT 'job' AS target, NEW.webhook AS url WHERE NEW.webhook IS NOT NULL UNION ALL "  # noqa: S608
        f"SELECT 'user', u.url FROM webhook_users u WHERE u.url IS NOT NULL AND {of_owner} "
        "UNION ALL SELECT 'program', NULL FROM end_programs"
    )
    return (
        f"INSERT INTO webhook_deliveries ({_COLUMNS}) "  # noqa: S608
        f"SELECT j.id, j.user_id, r.target, CASE r.target WHEN 'job' THEN r.url END, "
        f"coalesce({authority('r.url')}, ''), j.status, coalesce(j.finished_at, j.updated_at), "
        f"{json_object}({', '.join(pairs)}), 'pending', 0, 0, j.updated_at "
        f"FROM ({receivers}) AS r, jobs AS j WHERE j.id = NEW.id ORDER BY r.target"
    )


def _names_of_secrets(json_object: str) -> str:
    if json_object == "json_build_object":
        return "split_part(j.secrets, ' ', 1)"
    return "substr(j.secrets, 1, instr(j.secrets, ' ') - 1)"


def _sqlite_authority(url: str) -> str:
    """Return the SQL for host and port of a URL; NULL for NULL."""
    rest = f"substr({url}, instr({url}, '://') + 3)"
    slashes = f"replace(replace({rest}, '?', '/'), '#', '/') || '/'"
    return f"substr({rest}, 1, instr({slashes}, '/') - 1)"


def _postgresql_authority(url: str) -> str:
    return f"split_part(translate(split_part({url}, '://', 2), '?#', '//'), '/', 1)"
