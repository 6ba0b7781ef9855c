"""Real servers and small helpers for the tests: a store, a database, two HTTP origins."""
