"""The final name of a file: `publication.py` gives it, `record.py` shows it after a crash."""
