"""The tables. `database/migrations` builds them; a test holds the two together."""

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

#: Of jobs that hold their dedup_key: they have not ended, and a running one is not being cancelled.
#: As text, since an index has no parameters.
HOLDS_DEDUP_KEY = text(
    "status NOT IN ('completed', 'failed', 'cancelled') "
    "AND (control IS NULL OR control <> 'cancel')"
)


#: Of jobs whose last message went to the queue of what was begun; as text, so that its index serves.
REQUEUED = text("in_front")


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
    Column("host", String(300)),
    Column("max_bytes", BigInteger),
    Column("connections", Integer),
    Column("decode", Boolean, nullable=False, server_default=false()),
    Column("ignore_origin_digests", Boolean, nullable=False, server_default=false()),
    Column("priority", String(8), nullable=False, server_default="normal"),
    # SHA-256 in hexadecimal (domain/dedup.py).
    Column("flight", String(64), key="dedup_key"),
    # The names of what there is, a space, a Fernet token (worker/credentials.py).
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
    # The time that the job's last message carries. These three are about messages: NULL says that it has
    # none; whether that went in front of all; and the time that the last one carried which was spent
    # without effect (its sender may come to note it only after that).
    Column("published_at", UTCDateTime),
    Column("in_front", Boolean, nullable=False, server_default=false(), key="requeued"),
    Column("spent_at", UTCDateTime, key="message_consumed_at"),
    Column("created_at", UTCDateTime, nullable=False),
    Column("updated_at", UTCDateTime, nullable=False),
    Column("started_at", UTCDateTime),
    Column("finished_at", UTCDateTime),
    Column("bytes_downloaded", BigInteger, nullable=False, server_default="0"),
    Column("bytes_total", BigInteger),
    Column("bytes_durable", BigInteger, nullable=False, server_default="0"),
    Column("speed_mbps", Float, nullable=False, server_default="0"),
    # fence * 2^32 + sequence of the progress that stands in this row; it only rises.
    Column("progress_version", BigInteger, nullable=False, server_default="0"),
    Column("path", Text),
    Column("sha256", String(64)),
    Index(None, "status", "updated_at"),
    Index(None, "status", "next_attempt_at"),
    Index(None, "status", "host"),
    Index(None, "status", "priority", "published_at"),
    Index(
        "ix_jobs_in_front",
        "status",
        "published_at",
        sqlite_where=REQUEUED,
        postgresql_where=REQUEUED,
    ),
    Index(None, "user_id", "id"),
    Index(None, "finished_at"),
    # One living job a dedup_key, whoever submits at the same moment. What leaves this index by a cancel
    # comes back by a retry alone, since nothing takes a cancel back.
    Index(
        "uq_jobs_flight_alive",
        "dedup_key",
        unique=True,
        sqlite_where=HOLDS_DEDUP_KEY,
        postgresql_where=HOLDS_DEDUP_KEY,
    ),
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

users = Table(
    "users",
    metadata,
    Column("id", String(200), primary_key=True),
    Column("email", String(320), nullable=False),
    Column("display_name", String(200), nullable=False),
    Column("role", String(32), nullable=False),
    Column("created_at", UTCDateTime, nullable=False),
    Column("updated_at", UTCDateTime, nullable=False),
)
