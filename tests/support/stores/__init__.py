"""Stores: the server of the tests, the stand-in for Dragonfly, and servers that refuse."""
