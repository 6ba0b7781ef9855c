"""Keys, bytes, figures and the circuit breaker of the cache, without a store."""
