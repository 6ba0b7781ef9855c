"""Coordination of processes through the store: locks, rate limits, slots, heartbeats, data loss.

Open `lock.py` first.
"""
