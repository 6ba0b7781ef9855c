"""Deliveries of ends of jobs: to webhooks, and to the program of SEEN_ON_END.

Open `dispatcher.py` first. A trigger in SQL writes the outbox
(docs/adr/0083-a-trigger-writes-the-outbox.md).
"""
