"""The periodic tasks that beat sends: persist, requeue due jobs, reconcile, purge, clean up.

Open `reconcile.py` first.
"""
