"""Leases on running downloads: locks that are renewed, and stop the transfer when they are lost.

Open `lease.py` first; `stop_signal.py` and `drain.py` are the other reasons to stop.
"""
