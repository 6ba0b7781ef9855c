"""Functions and classes alone: no server, no process."""
