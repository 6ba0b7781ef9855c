"""Coordination of processes through the store: locks, rate limits, slots, beat's tasks, data loss.

Open `lock.py` first.
"""
