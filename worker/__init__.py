"""Runs one download well. Read `runner.py` first."""
