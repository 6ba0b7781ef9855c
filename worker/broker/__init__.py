"""The broker: the queues, and every message checked before kombu decodes it.

Open `client.py` first.
"""
