"""Locks, rate limits, limits of transfers, beat's records, data loss."""
