"""The stop signal of a running download."""
