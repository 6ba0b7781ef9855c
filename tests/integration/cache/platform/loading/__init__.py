"""`get_or_load`: single flight, freshness, races, outages."""
