"""What errors of the databases mean, provoked on real ones."""
