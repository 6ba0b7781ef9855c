"""What `seen` prints: progress, tables, and numbers as text.

Open `display.py` first.
"""
