"""Faults of disk, resolver and clock."""
