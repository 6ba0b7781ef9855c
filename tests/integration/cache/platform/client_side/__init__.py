"""The client-side cache and its invalidation."""
