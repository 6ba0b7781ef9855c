"""The HTTP API as a process: requests (`requests.py`), and streams of events (`watching.py`)."""
