"""Connections to the store: outages, refusals, signals."""
