"""Parts of the product in the test's process: on a real store, SQLite, PostgreSQL and real origins."""
