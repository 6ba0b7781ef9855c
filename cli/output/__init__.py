"""Progress, tables and numbers for people.

Open `formatting.py` first.
"""
