"""What the tests share. Each room's `__init__` says what it holds; `services/system.py` is used most.

`servers`, `stores` and `origins` are what the product talks to; `faults` and `inputs` go wrong on
purpose; `services` runs the product; `processes` are the programs that tests start.
"""
