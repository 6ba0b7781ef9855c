"""The engine: one file's bytes, from one or more URLs to a destination. No queues, locks or SQL.

`http/` holds libcurl and the meaning of responses, `integrity/` digests and checkpoints.
Open `engine.py` first.
"""
