"""Digests, and the checkpoints that make bytes durable.

Open `digests.py` first.
"""
