"""How commands reach the store: flows written once, run by blocking or on asyncio."""
