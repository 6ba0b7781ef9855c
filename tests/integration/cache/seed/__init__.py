"""Each line of the Go backend's DRAGONFLY_INTEGRATION.md, in Python: the table of docs/cache-from-go.md.

Every test runs on a real store, blocking and on asyncio.
"""
