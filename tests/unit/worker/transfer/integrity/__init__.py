"""Checkpoints and digests."""
