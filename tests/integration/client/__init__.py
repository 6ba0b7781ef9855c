"""`seen_client` on the real API, and on services that misbehave."""
