"""Short chaos runs, one file a database."""
