"""The options that commands share, and their values checked before anything is done.

Open `download_options.py` first.
"""
