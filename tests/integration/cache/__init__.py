"""The cache on a real store; every test runs on the blocking side and on asyncio."""
