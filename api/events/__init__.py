"""Live changes for any number of watchers: `hub.py` reads once, `stream.py` sends to one watcher."""
