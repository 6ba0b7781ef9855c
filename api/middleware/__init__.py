"""Checks of each request before a route sees it, and headers of each response. Plain ASGI."""
