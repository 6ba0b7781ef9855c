"""``python -m bench recovery``: how long a job stands still when its worker is gone.

`worker_failure.py` ends real workers, `orphans.py` measures one reconcile. Open `main.py` first.
"""
