"""How commands reach the store: plans written once, run by blocking or on asyncio."""
