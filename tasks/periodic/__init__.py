"""What beat starts: progress to SQL, requeueing, reconciling, cleaning up.

Open `reconcile.py` first.
"""
