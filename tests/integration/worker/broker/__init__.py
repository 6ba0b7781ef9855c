"""Publishing, and the sweep of the broker's database."""
