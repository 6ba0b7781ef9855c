"""Lua scripts as package data, one in each file; `cache.store.scripts` runs them."""
