"""Leases, and what a worker does not do once it has lost one."""
