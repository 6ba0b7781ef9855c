"""The commands of `seen`, one module for each group.

Open `get.py` first; `main.py` above registers them.
"""
