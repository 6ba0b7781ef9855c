"""From byte counts to the progress hash in the store.

Open `reporter.py` first.
"""
