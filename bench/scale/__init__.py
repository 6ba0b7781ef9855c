"""How long operations on SQL take with many jobs, and whether that grows with the finished ones."""
