"""`seen_client` without a service."""
