"""Lua scripts as package data; see `cache.scripts`."""
