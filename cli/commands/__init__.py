"""One module for each command of `seen`.

Open `get.py` first.
"""
