"""Cached values for the platform's services: sessions, users, catalogs and typed values.

Open `service.py` first.
"""
