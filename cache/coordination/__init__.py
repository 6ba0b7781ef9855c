"""What processes agree on through the store: locks, rate limits, slots, beat's leader.

Open `lock.py` first.
"""
