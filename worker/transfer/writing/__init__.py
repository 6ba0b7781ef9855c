"""What threads do for the file of one transfer, and how it reaches them in order.

`write_batch.py` is what a thread does at once; `disk_queue.py` runs that in order.
"""
