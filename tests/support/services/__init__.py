"""The whole service: as processes, in a thread, or simulated."""
