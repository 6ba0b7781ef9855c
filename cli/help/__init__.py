"""Help pages, and the nearest name after a mistyped one.

Open `pages.py` first.
"""
