"""Limits of concurrency, of connections and downloads per host and user, and of bytes per second.

Open `slots.py` first; the rest is independent of it.
"""
