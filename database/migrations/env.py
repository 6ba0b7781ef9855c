"""Alembic's entry point: runs inside the transaction that `database.migrate.upgrade` has opened."""

from alembic import context

from database.models import metadata

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=metadata,
    render_as_batch=connection.dialect.name == "sqlite",
    transactional_ddl=True,
)
context.run_migrations()
