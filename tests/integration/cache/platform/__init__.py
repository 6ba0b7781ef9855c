"""Values, sessions, users and catalog entries."""
