"""The thread "downloads" with its event loop, and how what it must not do itself is done in others.

Open `event_loop.py` first.
"""
