"""The tables. `database/migrations` builds them; a test compares the two."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TextClause,
    TypeDecorator,
    false,
    text,
)

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
}

metadata = MetaData(naming_convention=NAMING)

# Conditions of partial indexes; a query that has one of them uses its index. They are text: a database
# cannot know that a parameter fulfils a condition.

#: Of jobs that block an equal request: unfinished, and without a pending cancel.
HOLDS_DEDUP_KEY = text(
    "status NOT IN ('completed', 'failed', 'cancelled') "
    "AND (control IS NULL OR control <> 'cancel')"
)
HAS_FINISHED = text("finished_at IS NOT NULL")
WAITING = text("status = 'waiting'")
#: Of jobs that wait for a slot: at their host, among those of their user, or of all downloads.
WAITING_FOR_HOST = text("status = 'waiting' AND error_code = 'host_busy'")
WAITING_FOR_USER = text("status = 'waiting' AND error_code = 'user_busy'")
WAITING_FOR_ANY = text("status = 'waiting' AND error_code = 'total_busy'")
#: Of queued jobs without a message.
UNPUBLISHED = text("status = 'queued' AND published_at IS NULL")
#: Of queued jobs with a message.
PUBLISHED = text("status = 'queued' AND published_at IS NOT NULL")


#: The last 16 digits of an id: an index has this expression, and queries have the same one.
GID = "substr(id, 20, 4) || substr(id, 25)"
#: Of ids that are UUIDs.
HAS_GID = text("length(id) = 36")


class UTCDateTime(TypeDecorator[datetime]):
    """An aware UTC time: `timestamptz` on PostgreSQL, naive UTC text on SQLite, aware in Python."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Refuse naive times, and write UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value!r} has no time zone")
        value = value.astimezone(UTC)
        return value if dialect.name == "postgresql" else value.replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Read it back as aware UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class TextTuple(TypeDecorator[tuple[str, ...]]):
    """Texts as a JSON array; none of them are NULL in the table and an empty tuple in Python."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Sequence[str] | None, dialect: Dialect) -> Any:  # noqa: ARG002
        """Write them as JSON."""
        return json.dumps(list(value), ensure_ascii=False) if value else None

    def process_result_value(self, value: str | None, dialect: Dialect) -> tuple[str, ...]:  # noqa: ARG002
        """Read them back."""
        return tuple(json.loads(value)) if value else ()


def _partial_index(
    name: str, *columns: str | TextClause, where: TextClause, unique: bool = False
) -> Index:
    return Index(name, *columns, unique=unique, sqlite_where=where, postgresql_where=where)


#: SQLite numbers rows by itself only for the type INTEGER.
_RowId = BigInteger().with_variant(Integer, "sqlite")

jobs = Table(
    "jobs",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("user_id", String(200)),
    Column("url", Text, nullable=False),
    Column("directory", Text, nullable=False),
    Column("name", Text),
    Column("checksum", String(200)),
    Column("overwrite", Boolean, nullable=False, server_default=false()),
    Column("mirrors", TextTuple),
    Column("secret_url", Boolean, nullable=False, server_default=false()),
    Column("host", String(300)),
    Column("max_bytes", BigInteger),
    Column("max_rate", BigInteger),
    Column("connections", Integer),
    Column("decode", Boolean, nullable=False, server_default=false()),
    Column("ignore_origin_digests", Boolean, nullable=False, server_default=false()),
    Column("priority", String(8), nullable=False, server_default="normal"),
    # SHA-256 in hexadecimal (domain/dedup.py).
    Column("dedup_key", String(64)),
    # The names of what there is, and one or two Fernet tokens (worker/credentials.py).
    Column("secrets", Text),
    Column("status", String(16), nullable=False),
    Column("reason", Text),
    Column("error_code", String(64)),
    Column("fence", BigInteger, nullable=False, server_default="0"),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("max_attempts", Integer, nullable=False),
    Column("worker", String(255)),
    Column("control", String(16)),
    Column("next_attempt_at", UTCDateTime),
    # The job's messages: the time that the last one carries (NULL: none was published), whether that
    # went to the queue for requeued jobs, and the time of the last one that was consumed without effect.
    # A worker may consume a message before its sender has written `published_at`.
    Column("published_at", UTCDateTime),
    Column("requeued", Boolean, nullable=False, server_default=false()),
    Column("message_consumed_at", UTCDateTime),
    Column("created_at", UTCDateTime, nullable=False),
    Column("updated_at", UTCDateTime, nullable=False),
    Column("started_at", UTCDateTime),
    Column("finished_at", UTCDateTime),
    Column("bytes_downloaded", BigInteger, nullable=False, server_default="0"),
    Column("bytes_total", BigInteger),
    Column("bytes_durable", BigInteger, nullable=False, server_default="0"),
    Column("speed_mbps", Float, nullable=False, server_default="0"),
    # fence * 2^32 + sequence of the progress in this row; it only rises.
    Column("progress_version", BigInteger, nullable=False, server_default="0"),
    Column("path", Text),
    Column("sha256", String(64)),
    # Where deliveries of its ends go; it may be a secret.
    Column("webhook", Text),
    # The former names of three columns, for processes of the version before during a rolling upgrade:
    # triggers keep both names alike (revision 0007). Only those processes read them; the next version
    # drops them.
    Column("flight", String(64)),
    Column("in_front", Boolean, nullable=False, server_default=false()),
    Column("spent_at", UTCDateTime),
    # Every query that the service runs reads no more finished jobs than it returns
    # (docs/adr/0077-no-query-grows-with-finished-jobs.md; tests/integration/database/test_plans.py).
    # No index has a column that the saving of progress changes: PostgreSQL need not write its entries.
    Index(None, "status", "id"),
    Index(None, "status", "host", "id"),
    # With the host, so that a list by both reads no rows of other hosts.
    Index(None, "status", "user_id", "id", "host"),
    _partial_index("ix_jobs_status_finished_at", "status", "finished_at", where=HAS_FINISHED),
    _partial_index(
        "ix_jobs_status_host_finished_at", "status", "host", "finished_at", where=HAS_FINISHED
    ),
    _partial_index(
        "ix_jobs_status_user_id_finished_at_host",
        "status",
        "user_id",
        "finished_at",
        "host",
        where=HAS_FINISHED,
    ),
    _partial_index("ix_jobs_next_attempt_at", "next_attempt_at", where=WAITING),
    _partial_index("ix_jobs_waiting_for_host", "host", "priority", "id", where=WAITING_FOR_HOST),
    _partial_index("ix_jobs_waiting_for_user", "user_id", "priority", "id", where=WAITING_FOR_USER),
    _partial_index("ix_jobs_waiting_for_any", "priority", "id", where=WAITING_FOR_ANY),
    _partial_index("ix_jobs_unpublished", "id", where=UNPUBLISHED),
    # With all by which queued jobs are chosen, and first what orders them. PostgreSQL knows that rows
    # are stored in order of their ids, so it prefers this one to the primary key, which has all jobs.
    _partial_index(
        "ix_jobs_published",
        "id",
        "priority",
        "requeued",
        "published_at",
        "fence",
        where=PUBLISHED,
    ),
    # At most one unfinished job for each dedup key, also with concurrent callers. A pending cancel takes
    # a job out of this index; only a retry brings it back, since a cancel cannot be withdrawn. Both
    # versions name it in ON CONFLICT, so it has the column's former name.
    _partial_index("uq_jobs_flight_alive", "flight", where=HOLDS_DEDUP_KEY, unique=True),
    # By the GID that aria2's clients know a job by (docs/adr/0089-a-gid-is-the-end-of-a-job-id.md).
    _partial_index("uq_jobs_gid", text(f"({GID})"), where=HAS_GID, unique=True),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    # SHA-256 in hexadecimal of the user and the key that the caller gave.
    Column("key", String(64), primary_key=True),
    Column("job_id", String(36), ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
    Index(None, "job_id"),
)

job_events = Table(
    "job_events",
    metadata,
    Column("id", _RowId, primary_key=True, autoincrement=True),
    Column("job_id", String(36), nullable=False),
    Column("at", UTCDateTime, nullable=False),
    Column("from_status", String(16)),
    Column("to_status", String(16), nullable=False),
    Column("worker", String(255)),
    Column("fence", BigInteger, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("reason", Text),
    Index(None, "job_id", "id"),
)

#: Accounts: `database/accounts/`. No user is ever deleted, so that no name is given to another person.
users = Table(
    "users",
    metadata,
    Column("id", String(200), primary_key=True),
    Column("email", String(320), nullable=False),
    Column("display_name", String(200), nullable=False),
    # domain/access/principal.py; another text is no role, and gives no right.
    Column("role", String(32), nullable=False),
    Column("created_at", UTCDateTime, nullable=False),
    Column("updated_at", UTCDateTime, nullable=False),
    Column("disabled_at", UTCDateTime),
    # Sessions of an older generation are signed out.
    Column("session_generation", BigInteger, nullable=False, server_default="0"),
)

api_keys = Table(
    "api_keys",
    metadata,
    # The part of the key that is no secret, by which it is found.
    Column("prefix", String(16), primary_key=True),
    # SHA-256 in hexadecimal of the whole key.
    Column("hash", String(64), nullable=False),
    Column("user_id", String(200), ForeignKey("users.id"), nullable=False),
    Column("name", String(100), nullable=False),
    Column("scopes", TextTuple),
    Column("created_at", UTCDateTime, nullable=False),
    Column("expires_at", UTCDateTime),
    Column("last_used_at", UTCDateTime),
    Column("revoked_at", UTCDateTime),
    Index(None, "user_id"),
)

sign_in_links = Table(
    "sign_in_links",
    metadata,
    # SHA-256 in hexadecimal of the link's token.
    Column("hash", String(64), primary_key=True),
    Column("user_id", String(200), ForeignKey("users.id"), nullable=False),
    Column("created_at", UTCDateTime, nullable=False),
    Column("expires_at", UTCDateTime, nullable=False),
    Column("used_at", UTCDateTime),
    Index(None, "user_id"),
    Index(None, "expires_at"),
)

#: Responses to HTTP requests with an Idempotency-Key, which a repeated request gets again.
idempotent_requests = Table(
    "idempotent_requests",
    metadata,
    # SHA-256 in hexadecimal of the user and the key that the caller gave.
    Column("key", String(64), primary_key=True),
    # SHA-256 in hexadecimal of the request.
    Column("digest", String(64), nullable=False),
    # NULL until the request has been answered.
    Column("status", Integer),
    Column("response", Text),
    Column("created_at", UTCDateTime, nullable=False),
    Index(None, "created_at"),
)

#: How many jobs are finished, by state: the sum of the state's rows. Triggers on `jobs` add rows, and
#: `Retention.merge_counts` makes one of many. A single row for each state would be a lock that every
#: transaction waits for in which a job ends.
finished_job_counts = Table(
    "finished_job_counts",
    metadata,
    Column("status", String(16), nullable=False),
    Column("jobs", BigInteger, nullable=False),
)

#: Of users, and of "" for jobs without owner: where deliveries of their ends go, and the secrets that
#: sign these and those of jobs with a webhook of their own.
webhook_users = Table(
    "webhook_users",
    metadata,
    Column("user_id", String(200), primary_key=True),
    Column("url", Text),
    # A Fernet token (worker/webhooks/secrets.py).
    Column("secrets", Text),
    Column("updated_at", UTCDateTime, nullable=False),
)

#: One row while a process has SEEN_ON_END: ends of all jobs are kept for its program.
end_programs = Table(
    "end_programs",
    metadata,
    Column("name", String(16), primary_key=True),
    Column("seen_at", UTCDateTime, nullable=False),
)

#: Of deliveries that are still to be made.
PENDING = text("state = 'pending'")

#: The outbox. A trigger on `jobs` writes a row for each receiver in the transaction that ends the job,
#: whatever code or version does that (revision 0012).
webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    Column("id", _RowId, primary_key=True, autoincrement=True),
    Column("job_id", String(36), nullable=False),
    Column("user_id", String(200)),
    # job: `url`, the job's webhook; user: the one that the owner has now; program: SEEN_ON_END.
    Column("target", String(8), nullable=False),
    Column("url", Text),
    # Host and port; deliveries to one host do not delay those to another.
    Column("host", Text, nullable=False),
    Column("event", String(16), nullable=False),
    Column("ended_at", UTCDateTime, nullable=False),
    # The job's columns at its end, in JSON, without secrets.
    Column("job", Text, nullable=False),
    Column("state", String(16), nullable=False),
    # A fence: only the latest claim records a result.
    Column("claims", Integer, nullable=False),
    Column("attempts", Integer, nullable=False),
    # Of a claimed one, when its claim is over.
    Column("next_attempt_at", UTCDateTime, nullable=False),
    # The newest attempts, in JSON.
    Column("log", Text),
    Index(None, "job_id", "id"),
    Index(None, "state", "id"),
    Index(None, "user_id", "id"),
    _partial_index(
        "ix_webhook_deliveries_host_next_attempt_at", "host", "next_attempt_at", where=PENDING
    ),
    sqlite_autoincrement=True,
)
