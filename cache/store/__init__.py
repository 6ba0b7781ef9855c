"""How commands reach the store: flows, written once and run with blocking I/O or on asyncio.

Open `flow.py` first, then `operation.py` and `sync.py`.
"""
