"""Live progress of downloads: one hash a job, and the indexes beside it.

Open `download_cache.py` first.
"""
