"""Live progress of downloads: a hash for each job, and indexes.

Open `download_cache.py` first.
"""
