"""What a process counts and publishes for `/metrics`.

`catalog.py` lists the metrics. `instruments.py` counts, `publisher.py` adds the counts to those of all
processes, and `reading.py` checks and groups the totals.
"""
