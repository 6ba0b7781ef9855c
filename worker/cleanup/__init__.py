"""Removing files that no job needs any more.

Open `sweeper.py` first.
"""
