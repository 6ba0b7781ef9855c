"""Transfers from real origins to the disk."""
