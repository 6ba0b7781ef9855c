"""Benchmarks: ``python -m bench NAME``. They compare with peers in one run, and assert nothing."""
