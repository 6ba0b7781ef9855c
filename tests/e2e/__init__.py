"""The processes a user starts."""
