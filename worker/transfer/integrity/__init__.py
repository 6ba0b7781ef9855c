"""Digests, and the checkpoints that make bytes durable.

`digest_headers.py` reads the digests that origins send, `digests.py` computes those of the file.
Open `digests.py` first.
"""
