"""Cached values for the platform's services: sessions, users, catalogs, typed values.

Open `service.py` first.
"""
