"""The lease on a running download: what renews it, and what stops the download without it.

Open `lease.py` first.
"""
