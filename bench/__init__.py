"""Benchmarks: ``python -m bench NAME``. They compare with other programs in one run and assert nothing.

`cache/`, `transfers/` and `recoveries/` hold one benchmark each. Open `__main__.py` first.
"""
