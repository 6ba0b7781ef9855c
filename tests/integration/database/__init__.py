"""Jobs in SQL, on SQLite and PostgreSQL."""
