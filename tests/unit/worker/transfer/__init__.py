"""What a transfer decides: sources, segments, retries, rates."""
