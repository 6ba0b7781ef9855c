"""Webhooks under faults: `run.py` breaks receiver, API and workers, `checks.py` checks."""
